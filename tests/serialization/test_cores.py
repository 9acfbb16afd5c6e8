"""Work on several cores gives what a plain loop gives, and ends where that would."""

import threading

import pytest

from sparknet.serialization.memory import cores


@pytest.fixture(params=[1, 2, 4])
def count(request, monkeypatch):
    monkeypatch.setattr(cores, "_cores", lambda: request.param)
    return request.param


@pytest.mark.usefixtures("count")
def test_results_come_in_the_order_of_the_items():
    assert cores.each(lambda item: item * item, range(100)) == [item * item for item in range(100)]
    assert cores.each(len, []) == []


def test_as_many_threads_work_as_there_are_cores(count):
    together = threading.Barrier(count, timeout=60)  # nobody passes before all are there
    assert len({*cores.each(lambda _: (together.wait(), threading.get_ident())[1], range(count))}) == count


@pytest.mark.usefixtures("count")
def test_no_thread_outlives_the_call():
    before = threading.active_count()
    cores.each(str, range(50))
    assert threading.active_count() == before


@pytest.mark.usefixtures("count")
@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), MemoryError()])
def test_an_error_ends_the_work_and_is_raised(error):
    begun = []

    def work(item):
        begun.append(item)
        if item == 3:
            raise error

    with pytest.raises(type(error)) as caught:
        cores.each(work, range(10_000))
    assert caught.value is error
    assert len(begun) < 10_000


def test_where_no_thread_can_be_started_the_caller_does_all_the_work(monkeypatch):
    def fail(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(cores, "_cores", lambda: 4)
    monkeypatch.setattr(cores.Thread, "start", fail)
    assert cores.each(str, range(5)) == ["0", "1", "2", "3", "4"]
