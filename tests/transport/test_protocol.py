"""Whatever is lost, late, doubled or started again: a run ends with the bits of the undisturbed run."""

import random
import struct

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from transport.simulation import LIMITS, LawBrokenError, World, counts_by_bits, hold, replayed, undisturbed

from sparknet.transport import Close, Done, DriverSide, GiveUp, Hello, Send, Work

SCHEDULES = 300
TRIED = 3 * settings.default.max_examples  # all of them in CI, a tenth where a developer waits
SEEN: set[str] = set()
PICK = st.integers(0, 10**6)


class Chaos(RuleBasedStateMachine):
    """Everything that can happen to a session, in any order."""

    driver: type[DriverSide] = DriverSide
    deadline: float | None = None  # seconds
    by_clock = False  # whether clocks decide who takes part, and with how many steps

    @initialize(
        shards=st.integers(1, 3),
        rounds=st.integers(1, 5),
        doubles=st.booleans(),
        late=st.lists(st.sampled_from([0, 0, 4, 7]), min_size=3, max_size=3),
    )
    def begin(self, shards, rounds, doubles, late):
        self.doubles = doubles  # whether all is heard twice in the quiet end
        by_clock = {"clocks": random.Random(0), "counts": counts_by_bits} if self.by_clock else {}
        self.world = World(shards, rounds, self.deadline, self.driver, **by_clock)
        self.failed = 0
        for shard in range(shards):
            self.world.processes[self.world.start(shard)].late = late[shard]

    def picked(self, number, which=lambda _: True):
        some = [i for i, process in self.world.processes.items() if which(process)]
        return some[number % len(some)] if some else None

    @rule(shard=PICK)
    def another_attempt_starts(self, shard):
        if len(self.world.processes) < 12:
            self.world.start(shard % self.world.shards)

    @rule(number=PICK, is_seen=st.booleans())
    def a_worker_dies(self, number, is_seen):
        if (i := self.picked(number, lambda p: p.is_alive)) is not None:
            self.world.die(self.world.processes[i], is_seen=is_seen)

    @rule(number=PICK)
    def a_worker_that_is_done_dies_and_stays_away(self, number):
        if (i := self.picked(number, lambda p: p.is_alive and p.result)) is not None:
            self.world.die(self.world.processes[i], is_seen=False)
            for _ in range(13):  # seconds: it is missed, and in a round that does not wait for all no longer waited for
                self.world.quiet_turn()
                self.world.pass_time(1.0)

    @rule(number=PICK)
    def a_worker_stands_still_or_goes_on(self, number):
        if (i := self.picked(number, lambda p: p.is_alive)) is not None:
            self.world.processes[i].stands = not self.world.processes[i].stands

    @rule(number=PICK, turns=st.sampled_from([0, 0, 3, 8]), late=st.integers(0, 8))
    def a_worker_gets_slow(self, number, turns, late):
        if (i := self.picked(number, lambda p: p.is_alive)) is not None:
            self.world.processes[i].slow, self.world.processes[i].late = turns, late

    @rule(number=PICK)
    def a_connection_breaks(self, number):
        if (i := self.picked(number, lambda p: p.is_open)) is not None and self.world.processes[
            i
        ].session == self.world.session:
            self.world.cut(i)
            self.world.act(self.world.driver.lost(i, self.world.now))

    @rule(number=PICK)
    def a_worker_ends_its_work(self, number):
        if (i := self.picked(number, lambda p: p.work is not None)) is not None:
            self.world.compute(self.world.processes[i])

    @rule(number=PICK, twice=st.booleans())
    def the_driver_hears(self, number, twice):
        if (i := self.picked(number, lambda p: p.to_driver)) is not None:
            self.world.to_driver(i, twice=twice)

    @rule(number=PICK, twice=st.booleans())
    def a_worker_hears(self, number, twice):
        if (i := self.picked(number, lambda p: p.to_worker or not p.is_open)) is not None:
            self.world.to_worker(i, twice=twice)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 11.0]))
    def time_passes(self, seconds):
        self.world.pass_time(seconds)

    @rule(twice=st.booleans(), turns=st.integers(1, 6), seconds=st.sampled_from([0.0, 0.5]))
    def all_goes_well_for_a_while(self, twice, turns, seconds):
        for _ in range(turns):
            self.world.quiet_turn(twice=twice)
            self.world.pass_time(seconds)

    @rule(twice=st.booleans(), turns=st.integers(1, 6))
    def all_goes_well_and_fast(self, twice, turns):
        for _ in range(turns):
            self.world.quiet_turn(twice=twice)

    @precondition(lambda self: self.failed < 2)
    @rule()
    def the_job_fails(self):
        self.failed += 1
        self.world.job_fails()

    @precondition(lambda self: not self.world.is_over and self.world.session < 3)
    @rule()
    def the_driver_dies_and_resumes(self):
        self.world.start_driver()

    def teardown(self):
        if not hasattr(self, "world"):
            return
        self.world.settle(twice=self.doubles)
        self.law()

    def law(self):
        world = self.world
        hold(world.error is None, f"it ends with an error: {world.error}")
        hold(world.kept == (world.rounds, replayed(world.decided)), "its bits are others")
        hold(self.by_clock or world.kept[1] == undisturbed(world.took_part), "its bits are others")
        waits = self.deadline is None and not self.by_clock
        hold(
            not waits or world.took_part == [tuple(range(world.shards))] * world.rounds,
            "not all took part, or not in their order",
        )
        SEEN.update(world.seen)


class ChaosWithDeadline(Chaos):
    """The same where a round goes on with those that are done in time."""

    deadline = 1.0


class ChaosByClock(Chaos):
    """The same where clocks decide how many steps a worker takes, and for how long late ones are waited for once enough are done.

    Not each result counts.
    """

    by_clock = True

    @rule(seed=PICK)
    def the_clocks_are_others(self, seed):
        self.world.clocks.seed(seed)


def schedules(machine, count, *, phases=tuple(Phase), steps=40):
    """Run so many schedules, the same ones each time."""
    chosen = settings(
        max_examples=count,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=True,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)


@pytest.mark.parametrize("machine", [Chaos, ChaosWithDeadline, ChaosByClock])
def test_any_schedule_ends_with_the_bits_of_the_undisturbed_run_of_those_that_took_part(machine):
    SEEN.clear()
    schedules(machine, TRIED)
    assert {"Send", "Drop", "Begin", "Combine", "End", "RunAgain"} <= SEEN


def test_a_worker_lost_while_it_is_pulled_is_left_out_where_the_round_does_not_wait_for_all():
    world = World(2, 1, deadline=3.0)
    for shard in range(2):
        world.start(shard)
    while "Combine" not in world.seen:
        world.quiet_turn()
    world.die(world.processes[1], is_seen=True)
    while not world.is_over:
        world.to_driver(1)
        world.pass_time(1.0)
        world.quiet_turn()
    assert "Begin again" in world.seen
    assert world.took_part == [(0,)]
    assert world.kept == (1, undisturbed([(0,)]))


def test_a_worker_that_stands_still_is_left_out_once_the_grace_is_over_and_joins_a_later_round():
    world = World(3, 4, deadline=lambda done, waited: 4.0 - waited - len(done), quorum=2)
    for shard in range(3):
        world.start(shard)
    world.processes[2].stands = True
    world.quiet_turn()  # two of them are there
    world.quiet_turn()  # and done
    world.pass_time(1.5)
    assert world.took_part == []  # there are two seconds of grace
    while len(world.took_part) < 2:
        world.quiet_turn()
        world.pass_time(1.0)
    assert world.now < LIMITS.silence
    world.processes[2].stands = False
    while not world.is_over:
        world.quiet_turn()
        world.pass_time(1.0)
    assert world.error is None
    assert world.took_part[:2] == [(0, 1)] * 2
    assert world.took_part[-1] == (0, 1, 2)
    assert world.kept[1] == undisturbed(world.took_part)
    assert world.driver.lost_work > 0


def is_not_of_shard_0(said):
    """Say of a result of a first round that it counts, unless it is the first shard's."""
    return struct.unpack_from("d", said.result)[0] > 1.0


def standing(*shards, **options):
    """Return a world in which these of three workers stand still, all are there, and the others are done."""
    world = World(3, 1, **options)
    for shard in range(3):
        world.processes[world.start(shard)].stands = shard in shards
    for _ in range(3):
        world.quiet_turn()
    return world


def goes_on(world, seconds=5):
    for _ in range(seconds):
        world.quiet_turn()
        world.pass_time(1.0)


def test_a_round_ends_early_only_with_a_result_that_counts():
    asked = []
    world = standing(1, 2, deadline=lambda done, _: asked.append([*done]) or 1.0, counts=is_not_of_shard_0)
    goes_on(world)
    assert world.took_part == []
    world.processes[1].stands = False
    goes_on(world)
    assert (world.error, world.took_part) == (None, [(0, 1)])
    assert asked == [[0, 1]]  # the grace begins when enough are done, so once


def test_a_round_none_of_whose_results_counts_ends_once_all_are_there():
    world = standing(2, deadline=0.5, counts=lambda _: False)
    goes_on(world)
    assert world.took_part == []
    world.processes[2].stands = False
    goes_on(world)
    assert (world.error, world.took_part) == (None, [(0, 1, 2)])


@pytest.mark.parametrize("deadline", [3.0, lambda *_: 3.0])
def test_a_result_that_counts_and_is_lost_before_the_grace_is_over_is_waited_for(deadline):
    world = standing(2, deadline=deadline, counts=is_not_of_shard_0)
    world.die(world.processes[1])
    goes_on(world)
    assert world.took_part == []
    world.start(1)
    goes_on(world)
    assert (world.error, world.took_part) == (None, [(0, 1)])


def test_a_result_that_counts_and_is_lost_while_it_is_pulled_is_waited_for():
    world = World(2, 1, deadline=3.0, counts=is_not_of_shard_0)
    for shard in range(2):
        world.start(shard)
    while "Combine" not in world.seen:
        world.quiet_turn()
    world.die(world.processes[1])
    goes_on(world)
    assert not world.is_over
    world.start(1)
    goes_on(world)
    assert (world.error, world.took_part) == (None, [(0, 1)])


def test_a_shard_without_a_worker_ends_a_session_whose_other_results_do_not_count():
    world = World(2, 1, deadline=lambda *_: 1.0, counts=is_not_of_shard_0)
    world.start(0)
    goes_on(world)
    assert not world.is_over
    goes_on(world, seconds=int(LIMITS.join))
    assert str(world.error).startswith("shard 1 has been without a worker for ")


def test_a_shard_without_a_worker_ends_no_round_that_can_do_without_it():
    world = World(2, 2, deadline=lambda *_: 1.0)
    world.start(0)
    world.processes[0].slow = 2
    while not world.is_over:
        world.quiet_turn()
        world.pass_time(LIMITS.join)  # far longer than a shard that is needed may be without a worker
        assert world.now < 100 * LIMITS.join
    assert (world.error, world.took_part) == (None, [(0,), (0,)])


def test_a_worker_whose_shard_has_a_spare_makes_room_for_a_shard_without_a_worker():
    world = World(2, 2)
    for shard in 0, 1, 1:
        world.start(shard)
    world.quiet_turn()
    world.die(world.processes[0])
    while not world.is_over:
        if sum(process.is_alive for process in world.processes.values()) < 2:  # the places that there are
            world.start(0)
        world.quiet_turn()
        world.pass_time(1.0)
        assert world.now < 60
    assert [process.shard for process in world.processes.values()] == [0, 1, 1, 0]
    assert (world.error, world.kept) == (None, (2, undisturbed([(0, 1)] * 2)))


class GreetsTwice(DriverSide):
    """Takes a greeting that comes a second time for another worker's."""

    def joined(self, peer, hello, now):
        self._peers.pop(peer, None)
        return super().joined(peer, hello, now)

    def _send(self, peer, message, now):
        if peer not in self._peers:  # it is lost, and waited as a spare for itself
            return [Send(peer, message)]
        return super()._send(peer, message, now)

    def waiting(self, _now):
        return "a worker that is lost, of which nothing is known any more"


class AsTheyArrive(DriverSide):
    """Sums in the order in which the workers were done."""

    def _pulled_from(self, shards, now):
        return super()._pulled_from(tuple(sorted(shards, key=lambda s: self._seats[s].heard_done)), now)

    def _done(self, shard, done, now):
        self.count = getattr(self, "count", 0) + 1
        self._seats[shard].heard_done = self.count
        return super()._done(shard, done, now)


class LosesASlice(DriverSide):
    """Does not ask again for what a lost worker had been asked for."""

    def lost(self, peer, now):
        asked = [seat.asked for seat in self._seats]
        actions = super().lost(peer, now)
        for seat, before in zip(self._seats, asked, strict=True):
            seat.asked = before
        return actions


class SpareFinishes(DriverSide):
    """Sends a second attempt home."""

    def joined(self, peer, hello, now):
        actions = super().joined(peer, hello, now)
        if any(peer in seat.spares for seat in self._seats):
            actions = [*actions, *self._send(peer, Close(), now)]
        return actions


class CountsTheLost(DriverSide):
    """Takes what a worker said before it was lost for the word of the one that follows."""

    def lost(self, peer, now):
        ready = [seat.ready for seat in self._seats]
        actions = super().lost(peer, now)
        for seat, before in zip(self._seats, ready, strict=True):
            seat.ready = before
        return actions


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (GreetsTwice, "does not end"),
        (AsTheyArrive, "bits are others|not in their order"),
        (LosesASlice, "does not end"),
        (SpareFinishes, "does not end"),
        (CountsTheLost, "does not end"),
    ],
)
def test_a_machine_that_is_broken_is_found_by_the_law(broken, law):
    machine = type(broken.__name__, (Chaos,), {"driver": broken})
    with pytest.raises(LawBrokenError, match=law):
        schedules(machine, SCHEDULES, phases=[Phase.generate])


def attempts(first, second):
    """Return what the driver asks of the second worker of a shard, and what it does once that one has said this."""
    driver = DriverSide(2, LIMITS, 0.0)
    driver.joined(1, Hello(0), 0.0)
    driver.open({0: "work", 1: "work"}, 0.0)
    driver.received(1, first, 0.0)
    driver.lost(1, 0.0)
    (asked,) = [action.message for action in driver.joined(2, Hello(0), 0.0)]
    assert isinstance(asked, Work)
    return asked, driver.received(2, second, 0.0)


def test_an_attempt_of_which_nothing_came_does_not_say_how_many_steps_another_one_takes():
    asked, actions = attempts(Done(1, 0, 0, notes=b"it lacks something"), Done(1, 5, 0, b"a result"))
    assert asked.exactly is None
    assert not actions


@pytest.mark.parametrize(
    ("first", "second", "agree"),
    [
        (Done(1, 5, 0, b"a result"), Done(1, 0, 0), True),
        (Done(1, 5, 0, b"a result"), Done(1, 5, 0, b"another"), False),
        (Done(1, 5, 2, b"a result"), Done(1, 0, 0), False),  # its slices would be waited for
        (Done(1, 0, 0), Done(1, 5, 2, b"a result"), False),
    ],
)
def test_results_of_two_attempts_are_compared_unless_nothing_came_of_one(first, second, agree):
    asked, actions = attempts(first, second)
    assert any(isinstance(action, GiveUp) for action in actions) is not agree
    if first.steps:
        assert asked.exactly == first.steps
