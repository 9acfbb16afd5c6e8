"""One training with its faults: its driver is a program of its own, and this process is what disturbs it."""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from chaos import system
from chaos.driver import Spec
from chaos.training import WORKERS

from sparknet.training import Goodput

_MEETS = 900.0  # seconds in which the workers of a round meet, however many of them were killed
_ENDS = 300.0  # seconds in which all processes have ended after their driver
_OF_SPARK = ("blockmgr-", "spark-", "pyspark-", "hsperfdata", "liblz4", "libzstd", "snappy", "work", "executor-")


class RunError(AssertionError):
    """A run that did not end as the undisturbed one."""


@dataclass
class Outcome:
    """What became of a run: wall time in seconds, faults by kind that met an open round, how many did not, goodput, and memory."""

    seconds: float = 0.0
    injected: Counter = field(default_factory=Counter)
    missed: int = 0
    goodput: Goodput = field(default_factory=Goodput)
    samples: list = field(default_factory=list)


class Run:
    """A training and its processes; as a context manager it leaves none of them, and no file.

    Parameters
    ----------
    folder
        A new one, for all files of the run.
    cluster, policy, rounds
        Of the training.
    faults
        In the order of their rounds.
    standalone
        The master and the workers of Spark, if it has its own; else None.
    limit
        Seconds in which the run has to end.
    sampled
        Whether the memory of all processes is looked at after each round.
    aggregation
        As for the cluster.
    """

    def __init__(
        self,
        folder,
        cluster,
        policy,
        rounds,
        faults,
        *,
        standalone=None,
        limit=900.0,
        sampled=False,
        aggregation="star",
    ):
        self.folder, self.faults, self.limit, self.standalone = Path(folder), list(faults), limit, standalone
        self.sampled, self.outcome, self.mark = sampled, Outcome(), uuid.uuid4().hex
        self.folder.mkdir(parents=True)
        (self.folder / "tmp").mkdir()
        for fault in self.faults:
            (self.folder / f"round-{fault.round}").mkdir()
        master = {"local-cluster": "local-cluster[2,1,1024]"}.get(cluster, "")
        steps = {str(fault.round): fault.step for fault in self.faults}
        master = standalone.address if standalone else master
        self.spec = Spec(str(self.folder), cluster, master, policy, rounds, steps, aggregation)
        self.path = self.spec.write()
        self.bits, self.ended_at, self.cancelled, self.left = {}, {}, 0, None
        self.goodputs = {}  # of each round, when it was done last
        self.process, self.events, self.workers = None, queue.SimpleQueue(), ()
        self.timers, self.sent = [], []
        self.log = (self.folder / "said.txt").open("w")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in system.marked(self.mark):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder)

    def ends_as(self, expected):
        """Run to the end, check that, and return the outcome."""
        start = time.monotonic()
        self.until = start + self.limit
        self._start()
        for fault in self.faults:
            self._inject(fault)
        self._wait(lambda: self.left is not None, self.limit, "the end of the training")
        self._exited(0)
        self.outcome.seconds = time.monotonic() - start
        for timer in self.timers:
            timer.join()
        self.check(expected)
        self._count()
        return self.outcome

    def check(self, expected, *, ends=_ENDS):
        """Raise a RunError unless each round has the bits that are expected, and within so many seconds nothing is left."""
        for index, found in self.bits.items():
            if found != expected[index]:
                self._fail(f"round {index} has other bits than that of the undisturbed run")
        if max(self.bits) != len(expected) - 1:
            self._fail(f"the last round was {max(self.bits)}")
        self._nothing_is_left(ends)

    # ---- the driver
    def _start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chaos.driver", str(self.path)],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=system.environment(self.mark, self.folder / "tmp"),
            cwd=self.folder,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=[self.process], daemon=True).start()

    def _read(self, process):
        with process.stdout as lines:
            for line in lines:
                self.events.put(json.loads(line))
        self.events.put(None)  # it has ended

    def _hear(self):
        """Take what the driver has said."""
        with contextlib.suppress(queue.Empty):
            while True:
                said = self.events.get_nowait()
                if said is None:
                    continue
                if "round" in said:
                    self._take_goodput(said["round"], Goodput(**said["goodput"]))
                    if self.bits.setdefault(said["round"], said["bits"]) != said["bits"]:
                        self._fail(f"round {said['round']} has two results")
                    self.ended_at.setdefault(said["round"], said["at"])
                    if self.sampled:
                        self._sample(said["round"])
                self.cancelled += "cancelled" in said
                if "ended" in said:
                    self.left = said["left"]

    def _take_goodput(self, index, goodput):
        """Add the goodput of a round. What was done of it before the driver was killed, if that is done again, was for nothing."""
        before = self.goodputs.get(index, Goodput())
        self.outcome.goodput += Goodput(steps=-before.steps, lost=before.steps) + goodput
        self.goodputs[index] = goodput

    def _wait(self, is_so, seconds, what, *, may_end=False):
        """Wait for something that the driver or its workers do."""
        until = min(time.monotonic() + seconds, self.until)
        while True:
            status = self.process.poll()
            self._hear()
            if found := is_so():
                return found
            if status is not None and self.left is None and not may_end:
                self._fail(f"the driver has ended with {status}, before {what}")
            if time.monotonic() > until:
                self._fail(f"no {what} in time")
            time.sleep(0.003)

    def _exited(self, status):
        self._wait(lambda: self.process.poll() is not None, _ENDS, "end of the driver", may_end=True)
        if self.process.returncode != status:
            self._fail(f"the driver has ended with {self.process.returncode}, expected {status}")

    def _fail(self, why):
        said = (self.folder / "said.txt").read_text()[-3000:]
        msg = f"{self.folder.name}: {why}\nlast round: {max(self.bits, default=None)}; faults: {self.faults}\n{said}"
        raise RunError(msg)

    # ---- the faults
    def _inject(self, fault):
        """Let the workers meet, and let it go wrong."""
        kind, place = fault.kind, self.folder / f"round-{fault.round}"
        self.workers = self._wait(lambda: self._met(place), _MEETS, f"meeting of the workers in round {fault.round}")
        pid = self._process_of(kind.who, self.workers[fault.victim])
        if kind.number is None:
            self._order(fault, place, pid)
        elif not kind.is_anywhere:
            self._signal(fault, pid)
        (place / "go").touch()
        if kind.is_anywhere:
            time.sleep(fault.delay)
            self._signal(fault, pid)
        if kind.ends_driver:
            self._exited(-signal.SIGKILL)
            self._start()

    def _process_of(self, who, worker):
        """Return the process that something happens to."""
        if who in ("", "worker"):
            return worker
        if who == "driver":
            return self.process.pid
        executor = system.parent(system.parent(worker))  # between them is Spark's daemon
        return executor if who == "executor" else system.parent(executor)

    def _order(self, fault, place, pid):
        """Tell a process what to do in this round."""
        if not fault.kind.who:
            self.sent.append((fault, time.monotonic()))
        elif fault.kind.who == "driver":
            (self.folder / "order-driver").write_text(f"{fault.name} {place.name}")
        else:
            (place / f"order-{pid}").write_text(fault.name)

    def _met(self, place):
        found = [int(path.name[3:]) for path in place.glob("at-*")]
        alive = sorted(pid for pid in found if system.is_alive(pid))
        return alive[:WORKERS] if len(alive) >= WORKERS else ()

    def _signal(self, fault, pid):
        """Send a signal, if a process is there to get it, and see to what belongs to it."""
        if not system.is_alive(pid):
            self.outcome.missed += 1
            return
        before = self.cancelled
        os.kill(pid, fault.kind.number)
        self.sent.append((fault, time.monotonic()))
        if fault.kind.goes_on:
            self._later(fault.delay, pid)
        if fault.kind.who == "Spark worker":
            self.timers.append(self.standalone.replace(pid))
        if fault.name == "cancelled":
            self._wait(lambda: self.cancelled > before, _MEETS, "word of the interrupt")

    def _later(self, seconds, pid):
        def send():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        timer = threading.Timer(seconds, send)
        timer.start()
        self.timers.append(timer)

    def _count(self):
        """Count the faults that met a round that was open; those that a process was ordered to do, where it says that it did."""
        for fault, at in self.sent:
            self._counted(fault, is_met=self.ended_at.get(fault.round, at + 1) > at)
        for fault in self.faults:
            if fault.kind.number is None and fault.kind.who:
                self._counted(fault, is_met=(self.folder / f"round-{fault.round}" / "did").exists())

    def _counted(self, fault, *, is_met):
        self.outcome.injected[fault.name] += is_met
        self.outcome.missed += not is_met

    # ---- what is left
    def _nothing_is_left(self, ends):
        if self.left:
            self._fail(f"of the sessions is left in the driver: {self.left}")
        system.wait_until(lambda: not self._processes(), ends)
        if pids := self._processes():
            self._fail(f"processes are left: {'; '.join(map(system.words, pids))}")
        for path in (self.folder / "tmp").iterdir():
            if self.spec.cluster == "processes" or not path.name.startswith(_OF_SPARK):
                self._fail(f"a file is left: {path}")
        kept = sorted(
            path.name for path in (self.folder / "checkpoint").rglob("*") if path.name.startswith((".", "tmp"))
        )
        if kept:
            self._fail(f"beside the checkpoint is left: {kept}")

    def _processes(self):
        ours = system.marked(self.mark)
        return ours + (self.standalone.others() if self.standalone else [])

    # ---- memory
    def _sample(self, index):
        if not self.workers:
            return
        found = {"driver": system.resident(self.process.pid), "workers": sum(map(system.resident, self.workers))}
        if self.spec.cluster != "processes":
            jvms = {system.parent(system.parent(pid)) for pid in self.workers}
            found["executors"] = sum(map(system.resident, jvms))
            found["driver's JVM"] = sum(
                system.resident(pid)
                for pid in system.marked(self.mark)
                if system.parent(pid) == self.process.pid and pid not in jvms
            )
        self.outcome.samples.append((index, found))
