"""The driver's end of the results of a round, which come slice by slice.

What can be combined is combined as it comes, in memory for one model however many workers there are. What a rule or the solver states need
whole is gathered, one buffer for each worker.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparknet.averaging.slices import Combine, are_numbers
from sparknet.clusters.direct.combining import Combined, stretches_of
from sparknet.clusters.direct.payload import ResultLayout, Schema, checked, heard, same, schema_of
from sparknet.ndarray import NDArray
from sparknet.nets.base import SolverState
from sparknet.serialization.memory.buffers import aligned
from sparknet.serialization.memory.leased import Leases
from sparknet.training import Ending
from sparknet.transport import Done
from sparknet.weights import WeightCollection
from sparknet.worker import Facts

__all__ = ["KeptMemory", "Results"]

Bytes = np.ndarray[Any, Any]


@dataclass(frozen=True)
class KeptMemory:
    """What is combined lies here: in the memory of the round before the last one, if nobody has that any more."""

    weights: Leases = field(default_factory=Leases)
    states: Leases = field(default_factory=Leases)


class Results:
    """The results of one round: :meth:`begin`, then :meth:`take` for each slice, then :meth:`end`.

    Parameters
    ----------
    ending
        Gets what comes of them.
    states
        Schema of the solver state that was sent to each shard, of the names that come back.
    size
        Bytes of the payload in a slice.
    memory
        That of the session.
    """

    def __init__(
        self, ending: Ending, states: Mapping[int, Schema], size: int, memory: "KeptMemory | None" = None
    ) -> None:
        self._ending, self._states, self.size = ending, states, size
        self._memory = memory or KeptMemory()
        self.facts: list[Facts] = []
        self.nbytes = self.longest = 0  # bytes of all results, and of the longest one
        self.largest = 0  # bytes of the largest one, with the state that does not travel
        self.begun = 0.0  # time at which it was fixed who takes part
        self._takers: list[_Combined | _Gathered] = []
        self._sums: list[int] = []  # of each result: the checksum of the slices that have come

    def begin(self, done: Mapping[int, Done]) -> None:
        """Fix who takes part, and make room; called again, begin anew."""
        self.begun = time.perf_counter()
        said = {shard: json.loads(each.result) for shard, each in done.items()}
        notes = {shard: json.loads(each.notes) for shard, each in done.items()}
        self.largest = max(each["bytes"] for each in notes.values())
        self.facts = [
            Facts(worker=shard, seconds=notes[shard]["seconds"], **each["facts"]) for shard, each in said.items()
        ]
        start = ResultLayout(schema_of(self._ending.start))
        weights = [start if each["weights"] is None else ResultLayout(heard(each["weights"])) for each in said.values()]
        states = [
            ResultLayout(self._states[shard] if each["state"] is None else heard(each["state"]), before.end)
            for (shard, each), before in zip(said.items(), weights, strict=True)
        ]
        self.nbytes, self.longest = sum(layout.end for layout in states), max(layout.end for layout in states)
        self._takers, self._sums = self._made(weights, states), [0] * len(said)

    def take(self, number: int, slices: tuple[memoryview, ...]) -> None:
        """Take a slice of each result."""
        parts = [self._checked(place, number, part) for place, part in enumerate(slices)]
        for taker in self._takers:
            taker.take(number * self.size, parts)

    @property
    def taking_part(self) -> list[int]:
        """The workers whose results are combined."""
        return [self.facts[place].worker for place in self._ending.taking_part]

    def told(self) -> list[Any] | None:
        """Return how workers combine parts of the results that take part, for :func:`~.combining.taken`; None if only the driver can."""
        told = [taker.told() if isinstance(taker, _Combined) else None for taker in self._takers]
        return None if None in told else told

    def put(self, number: int, combined: Bytes) -> None:
        """Take a slice that a worker has combined."""
        for taker in self._takers:
            assert isinstance(taker, _Combined)
            taker.put(number * self.size, combined)

    def end(self) -> dict[int, SolverState]:
        """Give the ending what came of them; return worker -> its solver state, of those that have one of their own."""
        weights, states = self._takers
        if isinstance(weights, _Combined):
            self._ending.combined(WeightCollection(weights.named()))
        else:
            self._ending.whole([WeightCollection(each) for each in weights.named()])
        self._takers = []
        if isinstance(states, _Combined):
            self._ending.combined_state(_as_state(states.named()))
            return {}
        each_state = [_as_state(each) for each in states.named()]
        self._ending.states(each_state)
        if not self._ending.wants_each_state:
            return {}
        return {facts.worker: state for facts, state in zip(self.facts, each_state, strict=True)}

    def _checked(self, place: int, number: int, part: memoryview) -> Bytes:
        """Return the payload of a slice of a result; nothing if the result has no more."""
        if not part:
            return np.empty(0, np.uint8)
        data, self._sums[place] = checked(part, self.facts[place].worker, number, self._sums[place])
        return data

    def _made(self, weights: list[ResultLayout], states: list[ResultLayout]) -> "list[_Combined | _Gathered]":
        """Return what takes the weights, and what takes the states."""
        ending = self._ending
        taking_part, everyone = ending.begin(self.facts), range(len(self.facts))
        of_weights = None if ending.by_slices is None else ending.by_slices.combine
        kept = everyone if ending.wants_each_state else taking_part
        return [
            _taker(self._memory.weights, of_weights, taking_part, {place: weights[place] for place in taking_part}),
            _taker(self._memory.states, ending.combines_states, taking_part, {place: states[place] for place in kept}),
        ]


def _taker(
    memory: Leases, combine: Combine | None, taking_part: Sequence[int], layouts: Mapping[int, ResultLayout]
) -> "_Combined | _Gathered":
    """Return what combines the arrays that lie so, if they lie alike and are numbers; else what gathers them."""
    first = layouts[taking_part[0]]
    are_alike = all(each.begin == first.begin and same(each.schema, first.schema) for each in layouts.values())
    if combine is None or not are_alike or not are_numbers([place.dtype for place in first.places]):
        return _Gathered(layouts)
    return _Combined(memory, taking_part, first, combine)


class _Combined(Combined):
    """The arrays of a layout, of which the same part of each result is combined as it comes."""

    def __init__(self, memory: Leases, taking_part: Sequence[int], layout: ResultLayout, combine: Combine) -> None:
        self._taking_part, self._layout, self._whole = taking_part, layout, memory.take(layout.end - layout.begin)
        super().__init__(self._whole, layout.begin, stretches_of(layout), combine)

    def take(self, at: int, parts: Sequence[Bytes]) -> None:
        """Take a part of each result, from the byte ``at`` on."""
        super().take(at, [parts[place] for place in self._taking_part])

    def named(self) -> dict[str, list[NDArray]]:
        """Return what was combined, by name."""
        return self._layout.named(self._whole)


class _Gathered:
    """The arrays of some results, each in memory of its own."""

    def __init__(self, layouts: Mapping[int, ResultLayout]) -> None:
        self._layouts = layouts
        self._memory = {place: aligned(layout.end - layout.begin) for place, layout in layouts.items()}

    def take(self, at: int, parts: Sequence[Bytes]) -> None:
        """Take a part of each result, from the byte ``at`` on."""
        for place, layout in self._layouts.items():
            first, last = max(layout.begin, at), min(layout.end, at + len(parts[place]))
            if first < last:
                self._memory[place][first - layout.begin : last - layout.begin] = parts[place][first - at : last - at]

    def named(self) -> list[dict[str, list[NDArray]]]:
        """Return the arrays of each result, by name."""
        return [layout.named(self._memory[place]) for place, layout in self._layouts.items()]


def _as_state(named: Mapping[str, Sequence[NDArray]]) -> dict[str, NDArray]:
    return {name: array for name, (array,) in named.items()}
