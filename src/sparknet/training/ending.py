"""The end of a round: who takes part, and the position that the results make.

Results come here in one of two ways. Whole, of a session that has them in memory; or slice by slice, of a session whose workers keep
them until they are pulled. Then this says how parts are combined, and gets what came of that. Both ways give the same bits.
"""

from collections.abc import Collection, Sequence
from functools import cached_property, partial

from sparknet.averaging import BySlices, Rule, RuleState
from sparknet.averaging.contract import next_start, shares_of
from sparknet.averaging.rules import mean_of, named
from sparknet.averaging.slices import Combine, by_slices
from sparknet.checkpoint import Position
from sparknet.nets.base import SolverState
from sparknet.training.divergence import Divergence
from sparknet.training.pace import Quorum
from sparknet.training.states import StatePolicy, names_kept, next_states
from sparknet.weights import WeightCollection
from sparknet.worker import Facts, Outcome

__all__ = ["Ending"]


class Ending:
    """The end of one round.

    A session calls :meth:`begin` first. Of the weights it then gives :meth:`combined` or :meth:`whole`, of the solver states
    :meth:`combined_state` or :meth:`states`. What it gives belongs to the ending from then on.

    Parameters
    ----------
    rule, divergence, policy, new_state
        Of the run: its rule, what happens to results that are not finite, what happens to solver states, and the state of a solver
        that has taken no step.
    position
        Where the round began.
    absent
        Workers that take no part, whatever they bring back.
    quorum
        How the session may end the round without late workers; None: it waits for all.
    """

    def __init__(
        self,
        rule: Rule,
        divergence: Divergence,
        policy: StatePolicy,
        new_state: SolverState,
        position: Position,
        *,
        absent: Collection[int] = (),
        quorum: Quorum | None = None,
    ) -> None:
        self._rule, self._divergence, self._policy, self._new_state = rule, divergence, policy, new_state
        self._start, self._absent, self.quorum = position, absent, quorum
        self._facts: Sequence[Facts] = ()
        self.taking_part: list[int] = []  # places in the facts
        self._weights: WeightCollection | Sequence[WeightCollection] = ()
        self._states: SolverState | Sequence[SolverState] = ()

    @property
    def names_of_state(self) -> tuple[str, ...]:
        """The names of the arrays of a worker's solver state that are needed; empty: all of them."""
        return names_kept(self._policy)

    @property
    def wants_each_state(self) -> bool:
        """Whether the state of each worker is needed, of those that do not take part too."""
        return self._policy == "local"

    @property
    def start(self) -> WeightCollection:
        """The weights that the round began with."""
        return self._start.weights

    def counts(self, nonfinite: str | None) -> bool:
        """Say whether a result is one of the quorum's, of what is not finite in it; None: all is."""
        return self._divergence.counts(nonfinite)

    def begin(self, facts: Sequence[Facts]) -> list[int]:
        """Fix who takes part; return their places. Called again, it begins anew.

        Parameters
        ----------
        facts
            Of each worker that was waited for, in the order of the workers.

        Raises
        ------
        TrainingError
            As ``on_nonfinite`` says.
        """
        self._facts = facts
        self.__dict__.pop("by_slices", None)
        present = [place for place, each in enumerate(facts) if each.worker not in self._absent]
        finite = self._divergence.taking_part(self._start.rounds, [facts[place] for place in present])
        self.taking_part = [present[place] for place in finite]
        return self.taking_part

    @cached_property
    def by_slices(self) -> BySlices | None:
        """How the rule combines weights by slices; None if it needs whole results."""
        return by_slices(self._rule, self._start.weights, self._examples, self._start.rule_state)

    @property
    def combines_states(self) -> Combine | None:
        """How the same part of an array of each state is combined; None if each worker keeps its own."""
        if self.wants_each_state:
            return None
        return named("mean of integers too", self._shares) or partial(mean_of, shares=self._shares)

    def combined(self, weights: WeightCollection) -> None:
        """Take the weights that were combined by :attr:`by_slices`."""
        self._weights = weights

    def whole(self, results: Sequence[WeightCollection]) -> None:
        """Take the weights of those that take part."""
        self._weights = results

    def combined_state(self, state: SolverState) -> None:
        """Take the solver state that was combined by :attr:`combines_states`."""
        self._states = state

    def states(self, states: Sequence[SolverState]) -> None:
        """Take the solver states of those that take part; of all workers where :attr:`wants_each_state`."""
        self._states = states

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Take results that are whole: :meth:`begin`, and all that follows."""
        taking_part = [outcomes[place] for place in self.begin(outcomes)]
        self.whole([o.weights for o in taking_part])
        self.states([o.state for o in (outcomes if self.wants_each_state else taking_part)])

    def position(self) -> Position:
        """Return the position that the results make. Called once: what was taken is let go."""
        weights, rule_state = self._next_weights()
        taken = {each.worker: each.steps for each in self._facts if each.worker not in self._absent}
        steps = [before + taken.get(worker, 0) for worker, before in enumerate(self._start.steps)]
        states = self._next_states()
        self._weights, self._states = (), ()
        return Position(self._start.rounds + 1, weights, states, steps, rule_state)

    def _next_weights(self) -> tuple[WeightCollection, RuleState]:
        if isinstance(self._weights, WeightCollection):
            assert self.by_slices is not None
            return self.by_slices.finish(self._weights)
        return next_start(self._rule, self.start, self._weights, self._examples, self._start.rule_state)

    def _next_states(self) -> list[SolverState]:
        states = self._states
        if not isinstance(states, Sequence):
            return [{**self._new_state, **states}]
        if self.wants_each_state:
            states = self._each_state(states)
        return next_states(self._policy, states, self._shares, self._new_state)

    def _each_state(self, states: Sequence[SolverState]) -> list[SolverState]:
        """Return the state of each worker. One that is left out has that before the round; one that is not finite has counted its steps."""
        taken, found = set(self.taking_part), dict[int, SolverState]()
        for place, state in enumerate(states):
            worker = self._facts[place].worker
            counted = {name: state[name] for name in ("iteration",) if name in state}
            found[worker] = state if place in taken else {**self._before(worker), **counted}
        present = {each.worker for each in self._facts} - set(self._absent)
        return [found[k] if k in present else self._before(k) for k in range(len(self._start.steps))]

    def _before(self, worker: int) -> SolverState:
        return self._start.states[worker % len(self._start.states)]

    @property
    def _examples(self) -> list[int]:
        return [self._facts[place].examples for place in self.taking_part]

    @property
    def _shares(self) -> Sequence[float]:
        return shares_of(self._rule, self._examples)
