"""One pass: the results of the plain loop, prepared in a thread, read and computed in the caller's own."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparknet.data.passes import one_pass


def prefetching():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@given(items=st.lists(st.integers()), ahead=st.integers(0, 3))
def test_a_pass_gives_the_results_of_the_plain_loop(items, ahead):
    found = one_pass(items, lambda item: item + 1, lambda item, prepared: (item, prepared.get()), ahead=ahead)
    assert list(found) == [(item, item + 1) for item in items]


def test_items_are_read_and_computed_in_the_callers_thread_and_prepared_in_another():
    threads = {"read": set(), "prepared": set(), "computed": set()}

    def items():
        for item in range(5):
            threads["read"].add(threading.get_ident())
            yield item

    def prepare(item):
        threads["prepared"].add(threading.get_ident())
        return item

    def compute(_, prepared):
        threads["computed"].add(threading.get_ident())
        return prepared.get()

    assert list(one_pass(items(), prepare, compute)) == list(range(5))
    assert threads["read"] == threads["computed"] == {threading.get_ident()}
    assert len(threads["prepared"]) == 1
    assert threads["prepared"] != threads["read"]


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_an_error_is_raised_as_it_is_in_its_turn(ahead):
    error = ZeroDivisionError("item 2")

    def prepare(item):
        if item == 2:
            raise error
        return item

    found = one_pass(range(5), prepare, lambda _, prepared: prepared.get(), ahead=ahead)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ZeroDivisionError) as caught:
        next(found)
    assert caught.value is error
    assert prefetching() == []


def test_a_computation_may_go_on_after_an_error_of_preparing():
    def compute(item, prepared):
        try:
            return prepared.get()
        except ZeroDivisionError:
            return f"no {item}"

    assert list(one_pass([1, 0, 2], lambda item: 2 // item, compute)) == [2, "no 0", 1]


def test_with_none_ahead_an_item_is_read_after_the_one_before_was_computed():
    happened = []

    def items():
        for item in range(3):
            happened.append(("read", item))
            yield item

    found = one_pass(items(), lambda item: item, lambda _, prepared: prepared.get(), ahead=0)
    happened.extend(("computed", item) for item in found)
    assert happened == [(what, item) for item in range(3) for what in ("read", "computed")]


def test_a_pass_that_is_broken_off_ends_its_thread():
    found = one_pass(range(100), lambda item: item, lambda _, prepared: prepared.get())
    assert next(found) == 0
    assert len(prefetching()) == 1
    found.close()
    assert prefetching() == []
