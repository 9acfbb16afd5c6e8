"""The first slices of a result come without being asked for: what the driver makes of them."""

from sparknet.transport import Done, Hello, Limits, Pull, Slice, Work
from sparknet.transport.actions import Begin, Combine, End, Send
from sparknet.transport.driver_side import DriverSide
from sparknet.transport.worker_side import WorkerSide


def driver_of(shards, **limits):
    """A driver with an open round and a worker for each shard, whose number is that of its shard."""
    driver = DriverSide(shards, Limits(**limits), now=0.0)
    for shard in range(shards):
        driver.joined(shard, Hello(shard), now=0.0)
    return driver


def of(kind, actions):
    return [action for action in actions if isinstance(action, kind)]


def pulls(actions):
    return [(each.peer, each.message.number) for each in of(Send, actions) if isinstance(each.message, Pull)]


def combined(actions):
    return [each.slices for each in of(Combine, actions)]


def test_slices_that_came_before_the_last_worker_was_done_are_combined_once_it_is():
    driver = driver_of(2, window=2)
    driver.open({0: "w", 1: "w"}, now=0.0)
    driver.received(0, Done(1, 1, 3), now=1.0)
    for number, data in enumerate("ab"):
        assert driver.received(0, Slice(1, number, data), now=1.0) == []
    assert driver.received(0, Slice(1, 2, "not asked for"), now=1.0) == []
    assert driver.ignored == 1
    actions = driver.received(1, Done(1, 1, 3), now=2.0)
    assert len(of(Begin, actions)) == 1
    assert pulls(actions) == []
    actions = driver.received(1, Slice(1, 0, "A"), now=2.0)
    assert combined(actions) == [("a", "A")]
    assert pulls(actions) == [(0, 2), (1, 2)]
    assert combined(driver.received(1, Slice(1, 1, "B"), now=2.0)) == [("b", "B")]
    driver.received(0, Slice(1, 2, "c"), now=2.0)
    assert driver.received(1, Slice(1, 2, "C"), now=2.0) == [Combine(1, 2, ("c", "C")), End(1)]


def test_what_a_worker_sent_that_was_lost_before_all_were_done_is_not_mixed_with_that_of_the_next():
    driver = driver_of(2, window=2)
    driver.open({0: "w", 1: "w"}, now=0.0)
    driver.received(0, Done(1, 1, 2), now=1.0)
    driver.received(0, Slice(1, 0, "old"), now=1.0)
    driver.lost(0, now=1.0)
    (again,) = driver.joined(7, Hello(0), now=1.0)
    assert again == Send(7, Work(1, "w", exactly=1, ahead=2))
    driver.received(7, Done(1, 1, 2), now=1.0)
    driver.received(7, Slice(1, 0, "new"), now=1.0)
    driver.received(1, Done(1, 1, 2), now=2.0)
    assert combined(driver.received(1, Slice(1, 0, "A"), now=2.0)) == [("new", "A")]


def test_a_worker_that_takes_over_while_slices_are_pulled_sends_only_what_is_asked_for():
    driver = driver_of(2, window=2)
    driver.open({0: "w", 1: "w"}, now=0.0)
    for shard in 0, 1:
        driver.received(shard, Done(1, 1, 2), now=1.0)
        driver.received(shard, Slice(1, 0, "first"), now=1.0)
    driver.lost(0, now=1.0)
    assert driver.joined(7, Hello(0), now=1.0) == [Send(7, Work(1, "w", exactly=1, ahead=0))]
    assert pulls(driver.received(7, Done(1, 1, 2), now=1.0)) == [(7, 1)]


def test_slices_of_a_worker_that_came_late_are_let_go_and_are_no_fault():
    driver = driver_of(2, window=2)
    driver.open({0: "w", 1: "w"}, now=0.0, deadline=1.0, quorum=1)
    driver.received(0, Done(1, 1, 2), now=0.5)
    assert len(of(Begin, driver.tick(now=1.5))) == 1
    driver.received(1, Done(1, 1, 2), now=2.0)
    assert driver.received(1, Slice(1, 0, "late"), now=2.0) == []
    assert driver.ignored == 0
    assert combined(driver.received(0, Slice(1, 0, "a"), now=2.0)) == [("a",)]


def test_a_worker_sends_so_many_unasked_as_the_work_says_and_no_more_than_there_are():
    for ahead, slices, expected in (0, 3, 0), (2, 3, 2), (4, 3, 3):
        worker = WorkerSide(Hello(0), Limits(), now=0.0)
        worker.received(Work(1, "w", None, ahead), now=0.0)
        _, *answers = worker.ended(Done(1, 1, slices), now=1.0)
        assert [(each.round, each.number) for each in answers] == [(1, number) for number in range(expected)]


def test_the_driver_of_many_workers_holds_no_more_slices_in_all():
    for shards, expected in (2, 4), (8, 2), (64, 2):
        driver = driver_of(shards)
        actions = driver.open(dict.fromkeys(range(shards), "w"), now=0.0)
        assert {each.message.ahead for each in of(Send, actions)} == {expected}
