"""Prefetch gives the batches of the plain loop, in its order; errors arrive in their place; no thread is left."""

import gc
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import max_examples

from sparknet import DataError, NDArray, NetError
from sparknet.data.prefetch import prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert threads() == []


def batch(i):
    """A batch that takes longer the earlier it is, so that threads would finish out of order."""
    time.sleep(0.002 / (1 + i))
    return {"x": NDArray(np.random.default_rng(i).normal(size=(3, 2))), "i": NDArray(np.array([i]))}


def contents(batches):
    return [{name: a.to_host().tobytes() for name, a in found.items()} for found in batches]


@max_examples(30)
@given(items=st.integers(0, 12), figures=st.tuples(st.integers(0, 5), st.integers(1, 4)))
@example(items=5, figures=(None, 1))
@example(items=9, figures=(None, 4))
def test_order_and_bits_are_those_of_the_plain_loop(items, figures):
    depth, threads = figures
    depth = depth and max(depth, threads)
    with prefetch(range(items), batch, depth=depth, threads=threads if depth != 0 else 1) as batches:
        assert contents(batches) == contents(map(batch, range(items)))


def test_without_prepare_the_items_are_the_batches():
    with prefetch(iter([{"x": 1}, {"x": 2}])) as batches:
        assert list(batches) == [{"x": 1}, {"x": 2}]


@max_examples(20)
@given(depth=st.integers(1, 4), threads=st.integers(1, 3))
def test_no_more_than_depth_batches_are_ahead_of_the_caller(depth, threads):
    begun, depth = [], max(depth, threads)
    with prefetch(range(20), begun.append, depth=depth, threads=threads) as batches:
        for taken, _ in enumerate(batches, start=1):
            assert len(begun) <= taken + depth


def test_the_batches_ahead_are_made_while_the_caller_computes():
    made = [threading.Event() for _ in range(3)]
    with prefetch(range(3), lambda i: made[i].set(), depth=2) as batches:
        assert made[0].wait(60)
        assert made[1].wait(60)  # and nobody has asked for any
        assert not made[2].is_set()
        next(batches)
        assert made[2].wait(60)


def test_a_second_batch_is_made_ahead_once_the_caller_has_waited_for_one_that_is_not_the_first():
    made = [threading.Event() for _ in range(12)]

    def prepare(i):
        time.sleep(0.02 if 2 <= i < 8 else 0)
        made[i].set()
        return i

    with prefetch(range(12), prepare) as batches:
        assert next(batches) == 0
        assert made[1].wait(60)
        assert not made[2].wait(0.05)
        assert [next(batches) for _ in range(7)] == [1, 2, 3, 4, 5, 6, 7]  # faster than they are made
        assert made[8].wait(60)
        assert made[9].wait(60)
        assert not made[10].wait(0.05)


def test_as_many_threads_as_were_asked_for_make_batches():
    together = threading.Barrier(8, timeout=30)
    with prefetch(range(8), lambda i: together.wait() and i, threads=8) as batches:
        assert len(list(batches)) == 8
    with prefetch(range(8)) as batches:
        assert len(threads()) == 1
        assert list(batches) == list(range(8))


def test_a_wait_that_is_interrupted_loses_no_batch():
    def interrupt(_number, _frame):
        raise KeyboardInterrupt

    before, go_on = signal.signal(signal.SIGALRM, interrupt), threading.Event()
    try:
        with prefetch(range(5), lambda i: go_on.wait(30) and i, depth=2) as batches:
            for _ in range(4):  # more often than there are permits
                with pytest.raises(KeyboardInterrupt):  # noqa: PT012 -- the time may be up before next() is called
                    signal.setitimer(signal.ITIMER_REAL, 0.02)
                    next(batches)
            go_on.set()
            assert list(batches) == [0, 1, 2, 3, 4]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_seconds_waited_and_worked_are_those_of_the_batches_taken():
    with prefetch(range(3), lambda _: time.sleep(0.02), depth=0) as batches:
        for _ in batches:
            pass
        assert batches.worked >= 0.06
        assert batches.waited >= batches.worked
    with prefetch(range(1000), depth=1) as batches:
        next(batches)
        assert batches.worked < 1


# ---- errors
def failing(i):
    if i == 4:
        msg = "label 7 is not in the map"
        raise KeyError(msg)
    return i


@pytest.mark.parametrize(("depth", "workers"), [(0, 1), (1, 1), (2, 1), (4, 3)])
def test_an_error_comes_in_the_place_of_its_batch_and_ends_the_iteration(depth, workers):
    batches = prefetch(range(9), failing, depth=depth, threads=workers)
    assert [next(batches) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"^batch 4: KeyError: 'label 7 is not in the map'$") as caught:
        next(batches)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.batch == 4
    assert threads() == []
    assert list(batches) == []


def source():
    yield 0
    raise NetError("input 'data', example 3: got nan", input="data", row=3)


def test_an_error_of_the_source_keeps_its_type_and_fields():
    with prefetch(source()) as batches, pytest.raises(NetError, match=r"^batch 1: input 'data', example 3") as caught:
        list(batches)
    assert (caught.value.input, caught.value.row) == ("data", 3)


@pytest.mark.parametrize("depth", [0, 1])
def test_stop_iteration_from_prepare_is_an_error_and_not_the_end(depth):
    def prepare(_):
        raise StopIteration

    with prefetch(range(3), prepare, depth=depth) as batches, pytest.raises(DataError, match="batch 0: RuntimeError"):
        list(batches)


@pytest.mark.parametrize("depth", [0, 1])
def test_an_exit_in_the_thread_is_an_exit_for_the_caller(depth):
    def prepare(_):
        raise KeyboardInterrupt

    with prefetch(range(3), prepare, depth=depth) as batches, pytest.raises(KeyboardInterrupt):
        next(batches)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"depth": -1}, "depth=-1, expected at least 0"),
        ({"threads": 0}, "threads=0"),
        ({"depth": 2, "threads": 8}, "threads=8, expected at most depth=2"),
        ({"depth": 0, "threads": 2}, "threads=2, expected at most depth=0"),
    ],
)
def test_figures_out_of_range_are_named(options, match):
    with pytest.raises(DataError, match=match):
        prefetch([], **options)


# ---- ends
class Watched:
    """An endless source that knows whether it was let go."""

    def __init__(self):
        self.closed = threading.Event()

    def __iter__(self):
        try:
            i = 0
            while True:
                yield i
                i += 1
        finally:
            self.closed.set()


@pytest.mark.parametrize("workers", [1, 3])
def test_leaving_the_block_ends_threads_and_source(workers):
    watched = Watched()
    with prefetch(watched, depth=3, threads=workers) as batches:
        for i in batches:
            if i == 5:
                break
    assert threads() == []
    assert watched.closed.is_set()
    assert list(batches) == []


def test_an_exception_in_the_block_ends_them_too():
    watched = Watched()
    with pytest.raises(ZeroDivisionError), prefetch(watched) as batches:
        _ = 1 / next(batches)  # the first is 0
    assert threads() == []
    assert watched.closed.is_set()


def test_a_forgotten_prefetcher_is_collected_with_its_threads():
    watched = Watched()
    batches = prefetch(watched, depth=2, threads=2)
    assert next(batches) == 0
    gone = weakref.ref(batches)
    del batches
    gc.collect()
    assert gone() is None
    assert threads() == []
    assert watched.closed.is_set()


def test_the_end_of_the_source_ends_the_threads_without_a_close():
    batches = prefetch(range(3), depth=2, threads=2)
    assert list(batches) == [0, 1, 2]
    assert threads() == []


def test_closing_waits_for_the_batch_that_is_being_made():
    started, finished = threading.Event(), threading.Event()

    def prepare(_):
        started.set()
        time.sleep(0.1)
        finished.set()

    batches = prefetch(range(5), prepare)
    started.wait(60)
    batches.close()
    assert finished.is_set()
    batches.close()  # a second time does nothing


def test_closing_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr("sparknet.data.prefetch._PATIENCE", 0.05)
    release = threading.Event()
    batches = prefetch(range(5), lambda _: release.wait(30))
    batches.close()
    assert len(threads()) == 1  # in the middle of a batch, and told to stop
    release.set()
    for thread in threads():
        thread.join(60)


def test_a_caller_that_waits_in_another_thread_is_let_go_by_close(monkeypatch):
    monkeypatch.setattr("sparknet.data.prefetch._PATIENCE", 0.05)
    release, found = threading.Event(), []
    batches = prefetch(iter(lambda: release.wait(30), None))
    caller = threading.Thread(target=lambda: found.extend(batches))
    caller.start()
    time.sleep(0.05)
    batches.close()
    release.set()
    caller.join(60)
    assert not caller.is_alive()
    assert len(found) <= 1
    for thread in threads():
        thread.join(60)


@pytest.mark.parametrize(
    "end", ["", "import sys; sys.exit(0)", "raise SystemExit", "import gc; gc.collect()", "batches.close()"]
)
def test_the_interpreter_ends_at_once_and_in_silence(end):
    code = f"""
import itertools, time
from sparknet.data.prefetch import prefetch
batches = prefetch(itertools.count(), lambda i: time.sleep(0.01) or i, depth=3, threads=2)
print(next(batches))
{end}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_prefetchers_may_feed_each_other():
    with prefetch(prefetch(range(6), lambda i: i + 1), lambda i: i * 2) as batches:
        assert list(batches) == [2, 4, 6, 8, 10, 12]


@pytest.mark.torch
def test_torch_takes_the_batches_without_a_copy():
    import torch

    source = [{"x": NDArray(np.full((2, 3), i, np.float32))} for i in range(4)]
    weight = torch.ones(3, requires_grad=True)
    with prefetch(source) as batches:
        for stored, batch in zip(source, batches, strict=True):
            x = torch.from_dlpack(batch["x"])
            assert x.data_ptr() == stored["x"].to_host().ctypes.data
            (x @ weight).sum().backward()
    assert weight.grad.tolist() == [12.0] * 3


class Held:
    """Something large that the caller has while it goes through the batches."""


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("ends", ["at the end", "by an error"])
def test_what_the_caller_has_is_free_without_the_garbage_collector_once_the_batches_have_ended(depth, ends):
    def use():
        held = Held()
        with suppress(DataError):
            for _ in prefetch(range(3), None if ends == "at the end" else failing, depth=depth):
                pass
        return weakref.ref(held)

    def failing(item):
        return 1 / (1 - item)

    gc.disable()
    try:
        assert use()() is None
    finally:
        gc.enable()
