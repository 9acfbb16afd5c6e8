"""Worker processes that are forked from this one: started, started again where they die, and ended with it.

The first child is forked when the session opens. It forks all others, one for each shard, and again those that die. It is a copy of the
caller as it was, so data and factory are there without being sent; and it has one thread, so that it can fork at any time.
No process outlives the caller: the first child sees that its channel to the caller has ended, the others that the first child has.
"""

import atexit
import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import stat
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from sparknet.errors import ClusterError
from sparknet.transport import Hub

__all__ = ["Forks", "WorkOf"]

WorkOf: TypeAlias = Callable[[tuple[str, int], int], None]  # called with the hub's address and a shard
_DEATHS = 3  # of the worker of one shard, in a row, without a round that ended
_ENDS = 0.5  # seconds in which workers end by themselves; those at work in a round that was broken off are killed then
_KILLS = 5.0  # seconds after which the first child is killed too
_TOLD = 1_000  # characters of what a worker tells of its end: they fit in a pipe that nobody reads
_POLL = 0.2  # seconds between two looks at which children have died
# A terminal sends these to all processes of a job. They are the caller's to answer, and the others end with it.
_OF_THE_CALLER = ("SIGINT", "SIGTERM", "SIGHUP")


class Forks:
    """The caller's end: asks the first child for workers, and hears which have ended.

    Parameters
    ----------
    work
        What a worker process does.
    """

    def __init__(self, work: WorkOf) -> None:
        self._channel, theirs = socket.socketpair()
        self._caller = os.getpid()
        _flush()
        # A Ctrl-C before the child has let go of the caller's handlers would be raised in a copy of the caller's program.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with warnings.catch_warnings():
                # Of other threads of the caller: the child takes no lock of theirs.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._pid = os.fork()
            if not self._pid:
                _exit_after(lambda: _first_child(theirs, work, self._caller, mask))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        self._deaths: dict[int, int] = {}
        self._given_up: dict[int, str] = {}  # shard -> why its worker is being killed
        self._is_closing = False
        self._hub: Hub | None = None
        self._thread = threading.Thread(target=self._listen, name="watches worker processes", daemon=True)
        # Rounds that something still holds when Python ends would else be closed when its threads have been stopped.
        atexit.register(self.close)

    def watch(self, hub: Hub, workers: int) -> None:
        """Start a worker for each shard, and again one that has died."""
        self._hub = hub
        for shard in range(workers):
            self._ask(shard, hub.address)
        self._thread.start()

    def replace(self, shard: int, reason: str) -> None:
        """Kill the worker of a shard, which the hub has given up for this reason; another one is started when it is dead."""
        self._given_up[shard] = reason
        self._ask(shard, None)

    def round_ended(self) -> None:
        """Take that a round has ended: deaths are counted from here."""
        self._deaths.clear()

    def close(self) -> None:
        """End all processes, and wait for that; not in a process that the caller has forked itself."""
        atexit.unregister(self.close)
        if self._is_closing or os.getpid() != self._caller:
            return
        self._is_closing = True
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        if not _is_gone(self._pid, within=_ENDS + _KILLS):
            os.kill(self._pid, signal.SIGKILL)
            _is_gone(self._pid, within=_KILLS)
        if self._thread.ident is not None:
            self._thread.join()
        self._channel.close()

    def _ask(self, shard: int, address: tuple[str, int] | None) -> None:
        with contextlib.suppress(OSError):  # the first child is gone: whoever listens finds out
            self._channel.sendall(_line(shard, address))

    def _listen(self) -> None:
        assert self._hub is not None
        with contextlib.suppress(OSError), self._channel.makefile("rb") as lines:
            for line in lines:
                shard, (status, told) = json.loads(line)
                self._died(self._hub, shard, status, told)
        if not self._is_closing:
            self._hub.fail(ClusterError("the process that starts the workers has died, and no worker can be replaced"))

    def _died(self, hub: Hub, shard: int, status: int, told: str = "") -> None:
        reason = self._given_up.pop(shard, "")
        if not status:  # the hub has let it go
            return
        self._deaths[shard] = self._deaths.get(shard, 0) + 1
        if self._deaths[shard] < _DEATHS:
            self._ask(shard, hub.address)
            return
        how = f"killed, because {reason}" if reason else f"with {_in_words(status)}{told and ': '}{told}"
        msg = f"the process of worker {shard} has died {_DEATHS} times without a round that ended, the last time {how}"
        hub.fail(ClusterError(msg, worker=shard))


def _first_child(channel: socket.socket, work: WorkOf, caller: int, mask: Iterable[int]) -> None:
    """Fork a worker, or kill one, for each line that comes, until the caller is gone or closes; then end all of them."""
    _forget_the_caller(channel.fileno())
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    children = _Children(channel, work)
    waiting, is_open = b"", True
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        # Another process that the caller has forked may hold the channel open.
        while is_open and os.getppid() == caller:
            if selector.select(_POLL):
                got = _received(channel)
                is_open, waiting = bool(got), waiting + got
                *lines, waiting = waiting.split(b"\n")
                for line in lines:
                    children.obey(*json.loads(line))
            for shard, how in children.ended():
                with contextlib.suppress(OSError):
                    channel.sendall(_line(shard, how))
    children.end()


class _Children:
    """The worker processes, in the process that forks them."""

    def __init__(self, channel: socket.socket, work: WorkOf) -> None:
        self._channel, self._work = channel, work
        # Nothing is ever written to this pipe. Its end to write to is open in this process alone, so the others see when this one ends.
        self._lives, self._alive = os.pipe()
        self._shards: dict[int, tuple[int, int]] = {}  # of each process, and the pipe in which it tells of its end

    def obey(self, shard: int, address: list[Any] | None) -> None:
        """Start the worker of a shard; without an address kill it."""
        if address is None:
            for pid in [pid for pid, (served, _) in self._shards.items() if served == shard]:
                os.kill(pid, signal.SIGKILL)
            return
        host, port = address
        told, tells = os.pipe()
        pid = os.fork()
        if not pid:
            self._channel.close()
            os.close(self._alive)
            threading.Thread(target=_end_with, args=[self._lives], name="ends with its parent", daemon=True).start()
            _exit_after(lambda: self._work((host, port), shard), tells)
        os.close(tells)
        self._shards[pid] = shard, told

    def ended(self) -> list[tuple[int, tuple[int, str]]]:
        """Return the shard of each process that has died since, and how: its status, a signal as a negative number, and what it told."""
        found = [os.waitpid(pid, os.WNOHANG) for pid in self._shards]
        dead = [(os.waitstatus_to_exitcode(status), *self._shards.pop(pid)) for pid, status in found if pid]
        return [(shard, (status, _read(told))) for status, shard, told in dead]

    def end(self) -> None:
        """Wait for all: the hub has told them to end, or is gone."""
        until = time.monotonic() + _ENDS
        while self._shards and time.monotonic() < until:
            self.ended()
            time.sleep(0.01)
        for pid in self._shards:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _forget_the_caller(kept: int) -> None:
    """Let go of what a child must not share with the caller: its sockets, its handlers of signals, its finalizers."""
    gc.freeze()  # objects of the caller's are not collected here, so nothing of theirs is finalized
    signal.set_wakeup_fd(-1)
    for each in signal.valid_signals():
        if callable(signal.getsignal(each)):  # a function of the caller's, which is not to run in each worker too
            signal.signal(each, signal.SIG_IGN)
    for name in _OF_THE_CALLER:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for number in _descriptors():
        with contextlib.suppress(OSError):
            if number > 2 and number != kept and stat.S_ISSOCK(os.fstat(number).st_mode):
                os.dup2(null, number)  # not closed: an object of the caller's may close its number later
    os.close(null)


def _in_words(status: int) -> str:
    """Return how a process has ended."""
    if status >= 0:
        return f"status {status}"
    named = {each.value: each.name for each in signal.Signals}
    return f"signal {named.get(-status, -status)}"


def _descriptors() -> list[int]:
    return [int(path.name) for path in Path("/dev/fd").iterdir()]


def _end_with(lives: int) -> None:
    os.read(lives, 1)
    os._exit(1)


def _received(channel: socket.socket) -> bytes:
    try:
        return channel.recv(1 << 16)
    except OSError:  # the caller died with something unread
        return b""


def _read(told: int) -> str:
    """Return what a process that has ended has told, and close the pipe; a process of its own may hold the other end open."""
    os.set_blocking(told, False)
    with open(told, "rb", buffering=0) as pipe:
        return (pipe.read(4 * _TOLD) or b"").decode()


def _line(shard: int, said: object) -> bytes:
    return json.dumps([shard, said]).encode() + b"\n"


def _is_gone(pid: int, *, within: float) -> bool:
    until = time.monotonic() + within
    try:
        while os.waitpid(pid, os.WNOHANG)[0] != pid:
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
    except ChildProcessError:  # the caller waits for its children in another way
        pass
    return True


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or None
            stream.flush()


def _exit_after(action: Callable[[], None], tells: int | None = None) -> None:
    """Run the rest of a forked process: none of what the caller would do when it ends is done here. An error is told in a pipe, if there is one."""
    status = 1
    try:
        action()
        status = 0
    except BaseException as error:  # noqa: BLE001 - the process ends with it
        with contextlib.suppress(Exception):
            if tells is not None:
                os.write(tells, f"{type(error).__name__}: {error}"[:_TOLD].encode(errors="replace"))
            if not isinstance(error, ClusterError):  # with which a worker ends that has no driver, or was let go
                traceback.print_exc()
    finally:
        _flush()
        os._exit(status)
