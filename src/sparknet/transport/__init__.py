"""How the work of a round reaches the workers, and how what came of it comes back.

:class:`Hub` on the driver and :func:`serve` in each worker carry the protocol over TCP. The protocol itself is :class:`DriverSide` and
:class:`WorkerSide`: state machines without sockets, threads and clocks, where events go in and actions come out.
"""

from sparknet.transport.actions import (
    Abandon,
    Answer,
    Begin,
    Combine,
    Drop,
    End,
    GiveUp,
    RunAgain,
    Say,
    Send,
    Stop,
    Train,
)
from sparknet.transport.driver_side import DriverSide
from sparknet.transport.handshake import Credentials, new_secret
from sparknet.transport.hub import Hub
from sparknet.transport.limits import Enough, Limits
from sparknet.transport.messages import Beat, Close, Done, Failed, Hello, Pull, Rest, Slice, Work
from sparknet.transport.serving import Do, Result, serve
from sparknet.transport.worker_side import WorkerSide

__all__ = [
    "Abandon",
    "Answer",
    "Beat",
    "Begin",
    "Close",
    "Combine",
    "Credentials",
    "Do",
    "Done",
    "DriverSide",
    "Drop",
    "End",
    "Enough",
    "Failed",
    "GiveUp",
    "Hello",
    "Hub",
    "Limits",
    "Pull",
    "Rest",
    "Result",
    "RunAgain",
    "Say",
    "Send",
    "Slice",
    "Stop",
    "Train",
    "Work",
    "WorkerSide",
    "new_secret",
    "serve",
]
