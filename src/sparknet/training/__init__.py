"""Training by averaging: the driver, the protocols of clusters and data, and the rounds that it yields."""

from sparknet.training.driver import averaged_sgd
from sparknet.training.ending import Ending
from sparknet.training.events import EventLog
from sparknet.training.goodput import Goodput
from sparknet.training.pace import Decided
from sparknet.training.protocols import Cluster, Collected, PackedData, Session, SliceSession
from sparknet.training.rehearsal import check_axes, check_fit, rehearsed, settled
from sparknet.training.rounds import Round, Rounds, Seconds

__all__ = [
    "Cluster",
    "Collected",
    "Decided",
    "Ending",
    "EventLog",
    "Goodput",
    "PackedData",
    "Round",
    "Rounds",
    "Seconds",
    "Session",
    "SliceSession",
    "averaged_sgd",
    "check_axes",
    "check_fit",
    "rehearsed",
    "settled",
]
