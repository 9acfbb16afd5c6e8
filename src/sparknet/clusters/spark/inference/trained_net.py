"""A net with its weights: made on the driver to be tried, and on each worker, which keeps it for the next tasks."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sparknet.clusters.spark.jobs.running import pickled
from sparknet.clusters.spark.workers.net_cache import cached_net, device_of
from sparknet.clusters.transport import Parcel, Transport
from sparknet.errors import located
from sparknet.formats import Contents, Taken
from sparknet.nets.base import Net, NetFactory, driver_net
from sparknet.serialization import dumps, loads
from sparknet.weights import WeightCollection
from sparknet.weights.given import given_weights

__all__ = ["SentNet", "TrainedNet"]

_MOST_NETS = 2  # a job may go through one net after another


@dataclass(frozen=True)
class TrainedNet:
    """The parts of a net with weights, on the driver.

    Parameters
    ----------
    factory
        The factory, pickled.
    weights
        The message of the weights.
    device
        The device of the factory's nets.
    """

    factory: bytes
    weights: bytes
    device: str

    @classmethod
    def of(cls, caller: str, factory: NetFactory, weights: WeightCollection | Contents | Taken) -> "TrainedNet":
        """Return the parts of a factory's net with these weights; an error begins with ``caller``."""
        weights = given_weights(weights, f"{caller}: weights")
        with located(caller):
            return cls(pickled("the factory", factory), dumps(weights), device_of(factory))

    def on_driver(self) -> Net:
        """Return the net, made by :func:`~sparknet.nets.base.driver_net`."""
        return _made(self.factory, self.weights, driver_net)

    def sent(self, parcel: Parcel) -> "SentNet":
        """Return the net as workers get it; ``parcel`` holds its weights."""
        key = blake2b(blake2b(self.factory).digest() + blake2b(self.weights).digest()).hexdigest()
        return SentNet(key, self.factory, parcel, self.device)

    def send(self, transport: Transport) -> Parcel:
        """Send the weights to the workers."""
        return transport.send([self.weights])


@dataclass(frozen=True)
class SentNet:
    """A net that workers make; small and picklable.

    Parameters
    ----------
    key
        Digest of factory and weights.
    factory, device
        As for :class:`TrainedNet`.
    parcel
        Holds the message of the weights.
    """

    key: str
    factory: bytes
    parcel: Parcel
    device: str

    def __call__(self) -> Net:
        """Return the net of this worker, made if it is not kept."""
        return cached_net(self.key, self._made, most=_MOST_NETS, device=self.device)

    def _made(self) -> Net:
        (weights,) = self.parcel.open(0)
        return _made(self.factory, weights)


def _made(pickled_factory: bytes, weights: bytes, make: Callable[[Any], Net] = lambda factory: factory(seed=0)) -> Net:
    net = make(pickle.loads(pickled_factory))  # noqa: S301 - pickled by the caller's own driver
    net.set_weights(loads(weights, verify=True))
    return net
