"""Machines within a machine: network namespaces on a switch, each with a link of its own of so many bits a second in each direction.

The processes of one machine share its loopback, whose bytes are copies in memory: no link is ever the wall there. Here each process that
listens or connects is a machine of its own. What it sends and receives goes through a pair of virtual interfaces, and the kernel limits both
ends of it (``tbf``), so each direction of each link. The switch between them has no limit.

It takes Linux, iproute2, and root or ``unshare --user --map-root-user --net`` before the command. When the processes have ended, however
they did, all of it is gone; nothing of the machine's own network is touched.
"""

import ctypes
import multiprocessing
import os
import re
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection, create_server
from unittest import mock

CLONE_NEWNET = 0x40000000
BURST = 128 << 10  # bytes that may go at once: the largest packet has half as many
QUEUE = 4 << 20  # bytes that may wait for a link; what comes then is dropped


class Network:
    """A switch and so many machines, each with a link of ``rate`` bits a second in each direction.

    The process that takes part first is machine 0, the next one is machine 1, and so on.
    """

    def __init__(self, machines, rate):
        before = _present()
        self._switch = _made()
        _tool("ip link add switch type bridge")
        _tool("ip link set switch up")
        self._machines = [self._joined(number, rate) for number in range(machines)]
        _enter(before)
        os.close(before)
        self._taken = multiprocessing.Value("i", 0)
        self._number = None, None  # of the process, and its machine
        self._thread = threading.local()

    def take_part(self):
        """Let this thread be on the machine of its process, and return its address."""
        process = os.getpid()
        if self._number[0] != process:
            with self._taken.get_lock():
                self._number = process, self._taken.value
                self._taken.value += 1
        number = self._number[1]
        if getattr(self._thread, "process", None) != process:
            _enter(self._machines[number])
            self._thread.process = process
        return _address(number)

    def carried(self):
        """Bytes that have come to each machine, and that it has sent; with headers, one for what the kernel sends as one packet."""
        before = _present()
        _enter(self._switch)
        text = Path("/proc/thread-self/net/dev").read_text()
        _enter(before)
        os.close(before)
        ports = {int(number): counts.split() for number, counts in re.findall(r"port(\d+):(.*)", text)}
        # what the switch's end has sent has come to the machine
        return [(int(ports[number][8]), int(ports[number][0])) for number in sorted(ports)]

    def _joined(self, number, rate):
        """Make a machine, and join it to the switch."""
        _enter(self._switch)
        machine = _made()
        limit = f"root tbf rate {rate:.0f}bit burst {BURST} limit {QUEUE}"
        _tool(f"ip link add own type veth peer name port{number} netns /proc/{os.getpid()}/fd/{self._switch}")
        _tool(f"ip address add {_address(number)}/16 dev own")
        _tool("ip link set own up")
        _tool(f"tc qdisc add dev own {limit}")
        _enter(self._switch)
        _tool(f"ip link set port{number} master switch up")
        _tool(f"tc qdisc add dev port{number} {limit}")
        return machine


@contextmanager
def each_on_its_own(network):
    """Let this process be a machine of the network, and each process that is forked in the block and then listens or connects."""

    def listening(address, **options):
        return create_server((network.take_part(), address[1]), **options)

    def connected(address, *args, **options):
        network.take_part()
        return create_connection(address, *args, **options)

    network.take_part()
    with mock.patch("socket.create_server", listening), mock.patch("socket.create_connection", connected):
        yield


def _address(number):
    return f"10.77.{(number + 1) >> 8}.{(number + 1) & 255}"


def _tool(line):
    """Run ip or tc in the namespace of this thread."""
    subprocess.run(line.split(), check=True)


def _present():
    """The namespace of this thread, as an open file."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _made():
    """A new namespace, as an open file; this thread is in it from now on."""
    _call("unshare", CLONE_NEWNET)
    return _present()


def _enter(namespace):
    _call("setns", namespace, CLONE_NEWNET)


def _call(function, *args):
    """Call a function of libc."""
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*args):
        number = ctypes.get_errno()
        msg = f"{function}: {os.strerror(number)}; links take root, or unshare --user --map-root-user --net before the command"
        raise OSError(number, msg)
