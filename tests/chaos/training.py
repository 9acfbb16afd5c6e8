"""The training that is disturbed: its data, its net, and what of a round must be the same each time.

In some rounds the workers meet at a step: each says in a file that it is there, and waits. So a signal that is sent then finds
them in the middle of a round. Then each does what it is told to do.
"""

import hashlib
import os
import socket
import time
from pathlib import Path

import numpy as np

from sparknet import Field
from sparknet.nets import MLP

TAU = 3
WORKERS = 2
FIELDS = [Field("data", (64,), "float32"), Field("label", (), "int64")]
_WAITS = 900.0  # seconds in which all have to meet
_PIECES = 20  # of a slice that is sent slowly
_PIECE = 0.05  # seconds between two of them


def columns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    data = rng.normal(size=(10, 64))[labels] + rng.normal(size=(200, 64))
    return {"data": data.astype(np.float32), "label": labels}


def bits(each):
    """Return what says that a round has the bits of another one."""
    digest = hashlib.sha256(repr((each.index, each.loss, each.metrics, each.steps, each.examples)).encode())
    for array in each.weights.arrays():
        digest.update(np.ascontiguousarray(array.to_host()))
    return digest.hexdigest()[:16]


def options(data, rounds, policy):
    return {
        "workers": WORKERS,
        "tau": TAU,
        "rounds": rounds,
        "seed": 7,
        "solver_state": policy,
        "evaluate": (data, 10),
    }


class Meeting:
    """Makes a net whose workers meet.

    A result has three slices of 1 MiB, so that it can be cut.

    Parameters
    ----------
    folder
        Has a folder for each round in which they meet.
    steps
        Round -> the step of the round before which they do.
    """

    def __init__(self, folder, steps):
        self.folder, self.steps, self.driver = str(folder), dict(steps), os.getpid()

    def __call__(self, *, seed=0):
        net = MLP.factory((64,), 10, (4400,), learning_rate=0.02, momentum=0.9)(seed=seed)
        step = net.step

        def stepping(batch):
            round_, at = divmod(net.iteration, TAU)
            if os.getpid() != self.driver and self.steps.get(round_) == at:
                meet(Path(self.folder) / f"round-{round_}")
            return step(batch)

        net.step = stepping
        return net


def meet(place):
    """Wait until it goes on, and do what this process is told."""
    (place / f"at-{os.getpid()}").touch()
    until = time.monotonic() + _WAITS
    while not (place / "go").exists():
        if time.monotonic() > until:
            msg = f"nobody says in {place} that it goes on"
            raise TimeoutError(msg)
        time.sleep(0.002)
    if what := taken(place / f"order-{os.getpid()}"):
        {"fails before": _exit, "fails sending": _fail_sending, "sends slowly": _send_slowly}[what](place)


def taken(order):
    """Return what a file says, once; "" if it is not there."""
    try:
        what = order.read_text()
        order.unlink()
    except FileNotFoundError:
        return ""
    return what


def _exit(place):
    (place / "did").touch()
    os._exit(1)


def _fail_sending(place):
    """Send a half of the second slice, and close the connection."""
    _patch_sending(lambda connection, parts: _half(connection, parts, place), number=1)


def _half(connection, frame, place):
    connection.sendall(frame[: len(frame) // 2])
    (place / "did").touch()
    connection.shutdown(socket.SHUT_RDWR)
    msg = "cut"
    raise ConnectionError(msg)


def _send_slowly(place):
    _patch_sending(lambda connection, parts: _pieces(connection, parts, place), number=0)


def _pieces(connection, frame, place):
    (place / "did").touch()
    for piece in np.array_split(np.frombuffer(frame, np.uint8), _PIECES):
        connection.sendall(piece.tobytes())
        time.sleep(_PIECE)


def _patch_sending(how, number):
    """Let one slice be sent in another way, to the driver or to another worker."""
    from sparknet.transport import parts, serving
    from sparknet.transport.frames import framed
    from sparknet.transport.messages import Slice

    original = serving.send

    def send(connection, message):
        if not isinstance(message, Slice) or message.number != number:
            return original(connection, message)
        serving.send = parts.send = original
        return how(connection, b"".join(bytes(part) for part in framed(message)))

    serving.send = parts.send = send
