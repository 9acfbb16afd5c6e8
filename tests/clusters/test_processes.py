"""Workers in child processes: the bits of workers in this process, whatever becomes of the children."""

import contextlib
import ctypes
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from strategies import share

from sparknet import ClusterError, DataError, Field, LocalCluster, NetError, TrainingError, averaged_sgd
from sparknet.averaging import Median, Nesterov, WeightedMean
from sparknet.clusters import processes
from sparknet.clusters.forks import Forks
from sparknet.data import pack
from sparknet.data.preprocess import Scale
from sparknet.nets import MLP
from sparknet.transport import Hub, Limits, overdue

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 250)
COLUMNS = {"data": RNG.normal(size=(3, 6))[LABELS] * 2 + RNG.normal(size=(250, 6)), "label": LABELS}
DATA = pack(COLUMNS, [Field("data", (6,), "float32"), Field("label", (), "int64")], 8, Scale("data", 0.5))
FACTORY = MLP.factory((6,), 3, (5,), learning_rate=0.1, momentum=0.9)
ME = os.getpid()


def train(cluster, factory=FACTORY, **options):
    options = {"workers": 3, "tau": 5, "rounds": 4, "seed": 7, "evaluate": (DATA, 2), **options}
    return list(averaged_sgd(factory, DATA, cluster=cluster, **options))


def same(rounds, others):
    assert [r.weights for r in rounds] == [r.weights for r in others]
    assert [(r.loss, r.metrics, r.steps, r.examples) for r in rounds] == [
        (r.loss, r.metrics, r.steps, r.examples) for r in others
    ]


class Far:
    """A plain rule, which needs whole results."""

    def __repr__(self):
        return "Far()"  # in the name of a test: the two processes that run them must have the same names

    def shares(self, examples):
        return examples

    def __call__(self, start, results, _examples):
        return results[-1] + results[0] - start


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver_state": "local", "sampling": "window"},
        {"solver_state": "reset", "rule": WeightedMean()},
        {"rule": Nesterov()},
        {"rule": Median(), "solver_state": "local"},
        {"rule": Far(), "solver_state": "average"},
        {"max_seconds": 1e-9, "rule": WeightedMean()},
    ],
    ids=str,
)
def test_they_have_the_bits_of_workers_in_this_process(options):
    same(train(LocalCluster(processes=3), **options), train(LocalCluster(), **options))


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("policy", ["average", "local", "reset"])
def test_a_worker_whose_result_is_not_finite_is_left_out_before_results_are_combined(caplog, policy):
    data = pack(
        {name: column.copy() for name, column in COLUMNS.items()},
        [Field("data", (6,), "f"), Field("label", (), "int64")],
        8,
    )
    data.shard(1, 3)[2]["data"][0, :] = 3e38
    rounds, said = [], []
    for cluster in (LocalCluster(), LocalCluster(processes=3)):
        caplog.clear()
        options = {"cluster": cluster, "workers": 3, "tau": 12, "rounds": 2, "solver_state": policy}
        rounds.append(list(averaged_sgd(FACTORY, data, on_nonfinite="leave_out", **options)))
        said.append([record.getMessage() for record in caplog.records if "left out" in record.getMessage()])
        with pytest.raises(TrainingError, match=r"^round 0: worker 1: the loss of its update") as raised:
            list(averaged_sgd(FACTORY, data, **options))
        said[-1].append(str(raised.value))
    same(*rounds)
    assert said[0] == said[1]
    assert [each.workers for each in rounds[1]] == [(0, 2)] * 2


def children(pid):
    """Return the processes that a process has started, and those that they have."""
    found = started_by(pid)
    return found + [each for child in found for each in children(child)]


def started_by(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has ended meanwhile
                found += map(int, (task / "children").read_text().split())
    return found


def workers_of(before):
    """Return the worker processes of the session that is open, and the process that has forked them."""
    found = set()
    while len(found) != 1:  # Linux leaves some out while others end
        found = set(started_by(ME)) - set(before)
    (first,) = found
    return started_by(first), first


def kill(pid, number=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_until(is_so, seconds=200):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_workers_that_are_killed_at_any_moment_change_no_bit():
    rounds, dice, killed = 12, random.Random(7), 0
    expected = train(LocalCluster(), rounds=rounds)
    before, got = children(ME), []
    for each in averaged_sgd(
        FACTORY, DATA, cluster=LocalCluster(processes=3), workers=3, tau=5, rounds=rounds, seed=7, evaluate=(DATA, 2)
    ):
        got.append(each)
        if len(got) < rounds and (alive := workers_of(before)[0]):
            threading.Timer(dice.random() * 0.02, kill, [dice.choice(alive)]).start()
            killed += 1
    same(got, expected)
    assert killed >= rounds // 2


@pytest.mark.parametrize("sampling", ["epoch", "window"])
def test_a_worker_that_dies_after_its_seconds_takes_as_many_steps_again(monkeypatch, sampling):
    before, original, killed = children(ME), Hub.round, []

    def pulled(self, bodies, *, combine, begin):
        def killing(done):
            begin(done)
            if not killed:  # all are done, and nothing is pulled yet
                killed.append(workers_of(before)[0][0])
                kill(killed[0])
                wait_until(lambda: killed[0] not in workers_of(before)[0])

        return original(self, bodies, combine=combine, begin=killing)

    monkeypatch.setattr(Hub, "round", pulled)
    (first, _) = averaged_sgd(
        MLP.factory((6,), 3, (300, 300)),
        DATA,
        cluster=LocalCluster(processes=2),
        workers=2,
        tau=10**6,
        rounds=2,
        max_seconds=0.3,
        sampling=sampling,
    )
    assert killed
    assert first.steps > 2


def test_a_worker_that_dies_between_two_rounds_is_replaced_before_the_next():
    before, got = children(ME), []
    for each in averaged_sgd(
        FACTORY, DATA, cluster=LocalCluster(processes=3), workers=3, tau=5, rounds=3, seed=7, evaluate=(DATA, 2)
    ):
        got.append(each)
        if len(got) == 1:
            alive, _ = workers_of(before)
            kill(alive[1])
            wait_until(lambda: len(set(workers_of(before)[0]) - {alive[1]}) == 3)  # noqa: B023 - called here
    same(got, train(LocalCluster(), rounds=3))


def test_a_worker_that_stands_still_is_replaced(monkeypatch):
    monkeypatch.setattr(processes, "_LIMITS", Limits(beat=0.5, silence=4.0))
    before, got = children(ME), []
    for each in averaged_sgd(
        FACTORY, DATA, cluster=LocalCluster(processes=3), workers=3, tau=5, rounds=3, seed=7, evaluate=(DATA, 2)
    ):
        got.append(each)
        if len(got) == 1:
            kill(workers_of(before)[0][1], signal.SIGSTOP)
    same(got, train(LocalCluster(), rounds=3))
    assert children(ME) == before


class HoldsThreads:
    """Makes a net whose first step lets no other thread of its process run, as a call of C may, for longer than a worker may be silent."""

    def __call__(self, *, seed=0):
        net = FACTORY(seed=seed)
        step = net.step

        def stepping(batch):
            if net.iteration == 0 and os.getpid() != ME:
                ctypes.PyDLL(None).poll(None, 0, 1300)  # milliseconds
            return step(batch)

        net.step = stepping
        return net


def test_a_step_that_keeps_all_threads_of_its_worker_waiting_is_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(processes, "_LIMITS", Limits(beat=0.1, silence=1.0))
    options = {"workers": 1, "tau": 2, "rounds": 1}
    same(train(LocalCluster(processes=1), HoldsThreads(), **options), train(LocalCluster(), **options))
    assert "nothing for 1 s, and may for 1 s; the next worker of its shard may for 2 s" in caplog.messages[0]


class WaitsFor:
    """Makes a net whose first step in a worker does not end before a file is there."""

    def __init__(self, path):
        self.path = path

    def __call__(self, *, seed=0):
        net = FACTORY(seed=seed)
        step = net.step

        def stepping(batch):
            if os.getpid() != ME:
                wait_until(self.path.exists)
            return step(batch)

        net.step = stepping
        return net


def test_a_step_that_does_not_end_is_waited_for_and_the_log_says_so(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(processes, "_LIMITS", Limits(beat=0.1, silence=60.0))
    monkeypatch.setattr(overdue, "_FIRST", 0.2)
    said = re.compile(r"^this round has taken \d+ s, and waits for shard 0 \(pid \d+ on \S+\): its steps, for \d+ s")

    def ends_it_once_told():
        wait_until(lambda: any(map(said.match, caplog.messages)))
        (tmp_path / "go").touch()

    thread = threading.Thread(target=ends_it_once_told)
    thread.start()
    options = {"workers": 1, "tau": 2, "rounds": 1}
    same(train(LocalCluster(processes=1), WaitsFor(tmp_path / "go"), **options), train(LocalCluster(), **options))
    thread.join()


def test_without_the_process_that_forks_workers_the_training_ends_by_name_and_nothing_is_left():
    before = children(ME)
    rounds = averaged_sgd(FACTORY, DATA, cluster=LocalCluster(processes=2), workers=2, tau=5, rounds=10**6)
    next(rounds)
    workers, first = workers_of(before)
    family = [first, *workers]
    kill(first)
    with pytest.raises(ClusterError, match="the process that starts the workers has died"):
        list(rounds)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family))


def test_signals_of_a_terminal_are_left_to_the_driver():
    before, got = children(ME), []
    for each in averaged_sgd(
        FACTORY, DATA, cluster=LocalCluster(processes=3), workers=3, tau=5, rounds=4, seed=7, evaluate=(DATA, 2)
    ):
        got.append(each)
        workers, first = workers_of(before)
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            for pid in (first, *workers):
                kill(pid, number)
        assert workers_of(before) == (workers, first)
    same(got, train(LocalCluster()))


def test_workers_have_no_socket_of_the_caller():
    before = children(ME)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode = f"socket:[{os.fstat(listener.fileno()).st_ino}]"
        for _ in averaged_sgd(FACTORY, DATA, cluster=LocalCluster(processes=2), workers=2, tau=5, rounds=1):
            workers, first = workers_of(before)
            for pid in (first, *workers):
                held = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
                assert inode not in held
                assert len([each for each in held if each.startswith("socket:")]) == 1  # its own


def test_a_session_can_be_opened_in_a_thread_and_beside_another():
    expected, got = train(LocalCluster()), []
    rounds = averaged_sgd(FACTORY, DATA, cluster=LocalCluster(processes=3), workers=3, tau=5, rounds=4, seed=7)
    first = next(rounds)
    thread = threading.Thread(target=lambda: got.append(train(LocalCluster(processes=3))))
    thread.start()
    thread.join(200)
    same(got[0], expected)
    assert [r.weights for r in (first, *rounds)] == [r.weights for r in expected]


def test_no_process_is_left_when_the_loop_is_broken_off():
    before = children(ME)
    for _ in averaged_sgd(FACTORY, DATA, cluster=LocalCluster(processes=2), workers=2, tau=5, rounds=100):
        assert len(children(ME)) == len(before) + 3
        break
    assert children(ME) == before


class Refuses:
    """Makes a net that raises at its third step."""

    def __init__(self, error):
        self.error = error

    def __call__(self, *, seed):
        net = FACTORY(seed=seed)
        step, taken = net.step, []

        def refusing(batch):
            taken.append(1)
            if os.getpid() != ME and len(taken) > 2:
                raise self.error
            return step(batch)

        net.step = refusing
        return net


def test_an_error_of_sparknet_in_a_worker_is_raised_as_it_is():
    with pytest.raises(NetError, match=r"shard \d: minibatch \d+: no such blob \(at step 3 of its round\)$") as caught:
        train(LocalCluster(processes=3), Refuses(NetError("no such blob", blob="ip9")))
    assert (caught.value.blob, caught.value.step) == ("ip9", 3)


def test_any_other_error_names_shard_step_and_minibatch_and_has_its_traceback():
    place = r"^shard \d, step 3 of its round, minibatch \d+: ZeroDivisionError: of three$"
    with pytest.raises(ClusterError, match=place) as caught:
        train(LocalCluster(processes=3), Refuses(ZeroDivisionError("of three")))
    assert "in refusing" in caught.value.traceback


def test_an_error_of_a_factory_names_the_worker():
    def broken(*, seed):
        if os.getpid() == ME:
            return FACTORY(seed=seed)
        raise ZeroDivisionError

    with pytest.raises(ClusterError, match=r"^worker \d: ZeroDivisionError: $"):
        train(LocalCluster(processes=3), broken)


class Unprintable(Exception):  # noqa: N818 - it is none of the library's
    def __str__(self):
        raise KeyError


def test_an_error_is_told_however_long_its_facts_are_and_though_it_has_no_text():
    with pytest.raises(NetError, match="no such blob"):
        train(LocalCluster(processes=3), Refuses(NetError("no such blob", blob="b" * 3_000_000)))
    with pytest.raises(ClusterError, match=r"minibatch \d+: Unprintable: \(no text: KeyError\)"):
        train(LocalCluster(processes=3), Refuses(Unprintable()))


def deadly(*, seed):
    if os.getpid() != ME:
        os.kill(os.getpid(), signal.SIGKILL)
    return FACTORY(seed=seed)


def test_a_worker_that_dies_each_time_ends_the_training_by_name():
    with pytest.raises(ClusterError, match=r"worker \d has died 3 times .* signal SIGKILL"):
        train(LocalCluster(processes=3), deadly)


def test_a_worker_that_cannot_connect_ends_the_training_with_its_reason(monkeypatch):
    def refused(*_, **__):
        raise OSError(113, "No route to host")

    monkeypatch.setattr("sparknet.transport.connecting.socket.create_connection", refused)
    expected = (
        r"worker \d has died 3 times .* with status 1: ClusterError: the driver does not answer at .* No route to host"
    )
    with pytest.raises(ClusterError, match=expected):
        train(LocalCluster(processes=3))


def test_a_worker_that_ends_itself_ends_the_training_with_its_reason(capfd):
    def ends(*, seed):
        if os.getpid() != ME:
            raise SystemExit("\N{SNOWMAN}" * 10_000)
        return FACTORY(seed=seed)

    with pytest.raises(
        ClusterError, match=r"worker \d has died 3 times .* with status 1: SystemExit: \N{SNOWMAN}{980}"
    ):
        train(LocalCluster(processes=3), ends)
    assert "in ends" in capfd.readouterr().err  # where, in the traceback of each


def test_a_worker_that_was_killed_for_its_silence_is_not_said_to_have_died_of_a_signal():
    asked, failed = [], []
    forks = object.__new__(Forks)
    forks._deaths, forks._given_up = {}, {}
    forks._ask = lambda shard, address: asked.append((shard, address))
    hub = SimpleNamespace(address="there", fail=failed.append)
    for _ in range(3):
        forks.replace(1, "it has said nothing for 480 s")
        forks._died(hub, 1, -signal.SIGKILL)
    assert asked == [(1, None), (1, "there")] * 2 + [(1, None)]
    (error,) = failed
    assert str(error).endswith(
        "died 3 times without a round that ended, the last time killed, because it has said nothing for 480 s"
    )
    forks._died(hub, 1, -signal.SIGKILL)
    assert str(failed[1]).endswith("the last time with signal SIGKILL")


def test_more_workers_than_processes_are_refused_with_the_fix():
    with pytest.raises(DataError, match=r"workers=3 and processes=2; .* give processes=3, or workers=2"):
        train(LocalCluster(processes=2))


def test_a_system_that_cannot_fork_is_told_so(monkeypatch):
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ClusterError, match="this system cannot fork processes"):
        train(LocalCluster(processes=3))


@pytest.mark.parametrize("count", [0, -1, True, 1.0, "2"])
def test_what_is_no_number_of_processes_is_refused(count):
    with pytest.raises(DataError, match="expected a number of at least 1"):
        LocalCluster(processes=count)


def test_their_number_is_the_default_number_of_workers():
    (first,) = averaged_sgd(FACTORY, DATA, cluster=LocalCluster(processes=2), tau=1, rounds=1)
    assert first.workers == (0, 1)


PROGRAM = """
import signal, sys, time
import numpy as np
from sparknet import Field, LocalCluster, averaged_sgd
from sparknet.data import pack
from sparknet.nets import MLP

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have had it ignored
data = pack({"data": np.zeros((800, 6)), "label": np.zeros(800, int)}, [Field("data", (6,)), Field("label", (), "int64")], 8)
for done in averaged_sgd(MLP.factory((6,), 2, (600,)), data, cluster=LocalCluster(processes=2), workers=2, tau=50, rounds=10**6):
    print("round", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_all_processes_end_with_their_driver(number):
    driver = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert driver.stdout.readline() == "round\n"
    family = [driver.pid, *children(driver.pid)]
    assert len(family) == 4
    time.sleep(0.05)  # somewhere in a round
    if number == signal.SIGINT:
        os.killpg(driver.pid, number)  # as a terminal does
    else:
        driver.kill()
    _, said = driver.communicate(timeout=200)
    assert driver.returncode == -number, said
    until = time.monotonic() + 200
    while any(Path(f"/proc/{pid}").exists() for pid in family):
        assert time.monotonic() < until
        time.sleep(0.1)
    if number == signal.SIGINT:
        assert said.rstrip().endswith("KeyboardInterrupt"), said
        assert said.count("Traceback") == 1, said


LEAVES = """
import os, signal, sys
import numpy as np
from sparknet import Field, LocalCluster, averaged_sgd
from sparknet.data import pack
from sparknet.nets import MLP

data = pack({"data": np.eye(80, 6), "label": np.arange(80) % 2}, [Field("data", (6,)), Field("label", (), "int64")], 8)
rounds = averaged_sgd(MLP.factory((6,), 2), data, cluster=LocalCluster(processes=2), workers=2, tau=2, rounds=3)
"""


def run(program, status=0):
    """Run a program to its end, and return what it says."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LEAVES + program],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout


def test_a_program_ends_though_it_has_left_its_loop_and_kept_the_rounds():
    for _ in range(share(3)):  # without care it ends sometimes
        assert run("for done in rounds:\n    break\nprint(len(done.workers))") == "2\n"


def test_a_program_ends_without_a_word_of_a_daemon_thread_that_trains():
    program = """
import threading
first = threading.Event()


def train():
    for _ in averaged_sgd(MLP.factory((6,), 2), data, cluster=LocalCluster(processes=2), workers=2, tau=2, rounds=10**6):
        first.set()


threading.Thread(target=train, daemon=True).start()
print(first.wait(200))
"""
    assert run(program) == "True\n"


def test_a_process_that_the_caller_forks_does_not_end_the_session_when_it_exits():
    program = """
next(rounds)
if not (child := os.fork()):
    sys.exit()
print(os.waitpid(child, 0)[1], len(list(rounds)))
"""
    assert run(program) == "0 2\n"


def test_workers_end_with_their_driver_though_another_process_of_it_lives_on():
    program = """
import time
next(rounds)
started = [int(pid) for task in os.listdir("/proc/self/task") for pid in open(f"/proc/self/task/{task}/children").read().split()]
if not os.fork():
    os.setsid()
    while os.path.exists(f"/proc/{started[0]}"):
        time.sleep(0.05)
    print("gone", flush=True)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run(program, -signal.SIGKILL) == "gone\n"


def test_a_signal_finds_no_handler_of_the_caller_in_a_child_not_even_at_its_first_moment():
    program = """
held = []
os.register_at_fork(after_in_child=lambda: held.append(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
factory = MLP.factory((6,), 2)


def made(*, seed):
    if held:
        handled = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)]
        now = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        print(signal.SIGINT in held[0], signal.SIGINT in now, *map(int, handled))
    return factory(seed=seed)


signal.signal(signal.SIGUSR1, print)
for _ in averaged_sgd(made, data, cluster=LocalCluster(processes=1), tau=2, rounds=1):
    pass
"""
    assert run(program) == "True False 1 1 0\n"  # ignored, ignored, the system's default


def test_a_worker_that_dies_of_a_signal_without_a_name_ends_the_training_by_its_number():
    def deadly(*, seed):
        if os.getpid() != ME:
            os.kill(os.getpid(), 40)
        return FACTORY(seed=seed)

    with pytest.raises(ClusterError, match=r"worker \d has died 3 times .* signal 40"):
        train(LocalCluster(processes=3), deadly)


# ---- memory
def peak_of(workers):
    """Return the most memory that the driver allocates in a round, beside the weights that it starts from, in models."""
    make = MLP.factory((512,), 8, (8000,), learning_rate=0.1)  # 16 MB
    columns = {"data": np.ones((8, 512), "f"), "label": np.zeros(8, int)}
    data = pack(columns, [Field("data", (512,), "f"), Field("label", (), "int64")], 1)
    cluster = LocalCluster(processes=8)
    rounds = averaged_sgd(make, data, cluster=cluster, workers=workers, tau=1, rounds=1, solver_state="reset")
    tracemalloc.start()
    (only,) = rounds
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / only.weights.nbytes


@pytest.mark.parametrize("keeps", [False, True])
def test_the_weights_that_a_training_begins_with_are_let_go_after_its_first_round(tmp_path, keeps):
    kept = {"checkpoint": tmp_path / "kept"} if keeps else {}
    rounds = averaged_sgd(FACTORY, DATA, cluster=LocalCluster(processes=2), workers=2, tau=1, rounds=4, **kept)
    first = weakref.ref(rounds.weights.arrays()[0].unwrap())
    assert first() is not None
    for _ in range(3):
        next(rounds)
    assert first() is None
    rounds.close()


def test_the_memory_of_the_driver_does_not_grow_with_the_workers():
    few, many = peak_of(1), peak_of(4)
    assert many < few + 1.2  # 16 slices in all and those that are combined: a whole result of each would be three more
    assert few > 1  # the new weights
