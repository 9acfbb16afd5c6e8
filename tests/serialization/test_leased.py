"""Memory that is used again: once nobody has a part of it, and never before."""

import ctypes
import gc
import socket
import threading
import weakref
from mmap import PAGESIZE

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from written import written

from sparknet import NDArray
from sparknet.serialization.memory.buffers import let_go
from sparknet.serialization.memory.leased import Leases
from sparknet.transport import Slice
from sparknet.transport.wire import messages, send

VIEWS = {
    "itself": lambda a: a,
    "part": lambda a: a[8:16],
    "of a part": lambda a: a[8:40].view("<f4").reshape(2, 4)[1],
    "memoryview": lambda a: memoryview(a.data)[4:],
    "NDArray": lambda a: NDArray(a)[3:],
    "over a memoryview": lambda a: np.frombuffer(a.data[5:20], np.uint8),
}


def contents(view):
    return set(bytes(view.unwrap() if isinstance(view, NDArray) else view))


@given(st.lists(st.tuples(st.sampled_from(list(VIEWS)), st.integers(64, 9000), st.booleans()), max_size=12))
def test_no_memory_is_used_again_while_anything_of_it_is_alive(steps):
    memory, kept = Leases(), []
    for number, (kind, size, is_kept) in enumerate(steps):
        taken = memory.take(size)
        assert len(taken) == size
        assert taken.ctypes.data % 64 == 0
        taken[:] = number + 1
        if is_kept:
            kept.append((VIEWS[kind](taken), number + 1))
        del taken
        assert all(contents(view) == {value} for view, value in kept)


def test_memory_whose_last_view_is_gone_is_used_again():
    for kind, view_of in VIEWS.items():
        memory = Leases()
        taken = memory.take(5000)
        address, view = taken.ctypes.data, view_of(taken)
        del taken
        assert memory.take(5000).ctypes.data != address, kind
        del view
        assert address in {memory.take(5000).ctypes.data, memory.take(4999).ctypes.data}, kind


def test_memory_of_another_size_is_let_go():
    memory = Leases()
    first = weakref.ref(memory.take(5000).base)
    assert memory.take(50_000).nbytes == 50_000
    gc.collect()
    assert first() is None
    assert len(memory._free) == 1


def test_less_shares_the_memory_of_the_largest_down_to_a_quarter():
    memory = Leases()
    address = memory.take(100_000).ctypes.data
    for size in (50_000, 30_000, 100_000):
        taken = memory.take(size)
        assert (taken.ctypes.data, len(taken)) == (address, size)
        del taken
    assert memory.take(20_000).ctypes.data != address
    assert memory.take(100_000).ctypes.data == address


def test_the_kernel_may_have_large_memory_that_nobody_looks_at():
    memory, size = Leases(), 64 << 20
    taken = memory.take(size)
    taken[:] = 1
    address, before = taken.ctypes.data, written()
    del taken
    assert before - written() > 0.9 * size
    take_pages(memory._free[0])
    again = memory.take(size)
    assert again.ctypes.data == address
    assert not again.all()
    again[:] = 2
    assert before - written() < 0.1 * size
    assert contents(again[:: 1 << 12]) == {2}


def test_what_lies_beside_memory_that_is_let_go_stays():
    around = np.ones(6 * PAGESIZE, np.uint8)
    for begin, end in ((0, len(around)), (1, 3 * PAGESIZE + 9), (PAGESIZE - 1, 3 * PAGESIZE), (7, 7), (9, 100)):
        around[:] = 1
        let_go(around[begin:end])
        take_pages(around)
        assert around[:begin].all()
        assert around[end:].all()
        assert around[begin:end].all() or end - begin > PAGESIZE


def take_pages(memory):
    """Let the kernel take the pages of this memory that it may have, as it does when it is short of any."""
    begin = -(-memory.ctypes.data // PAGESIZE) * PAGESIZE
    nbytes = (memory.ctypes.data + memory.nbytes - begin) // PAGESIZE * PAGESIZE
    assert ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(nbytes), 21) == 0  # MADV_PAGEOUT


def test_what_is_free_goes_with_its_owner_though_something_is_still_in_use():
    memory = Leases()
    kept, free = memory.take(5000), memory.take(5000)
    del free
    (left,) = map(weakref.ref, memory._free)
    del memory
    assert left() is None
    assert len(kept) == 5000


def test_a_message_that_is_kept_is_not_overwritten_by_the_next_ones():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        bodies = [bytes([number]) * 100_000 for number in range(6)]
        sender = threading.Thread(target=lambda: [send(theirs, Slice(1, i, body)) for i, body in enumerate(bodies)])
        sender.start()
        kept, addresses = [], []
        for message in messages(ours, longest=1 << 20, allowed=[Slice]):
            addresses.append(np.frombuffer(message.data, np.uint8).ctypes.data)
            if message.number % 2:
                kept.append(message.data[10:20])
            number = message.number
            del message
            if number == 5:
                break
        sender.join()
    assert [set(bytes(view)) for view in kept] == [{1}, {3}, {5}]
    assert len(set(addresses)) < 6
