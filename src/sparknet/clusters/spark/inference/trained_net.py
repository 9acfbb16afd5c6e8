"""A net with its weights: made on the driver to be tried out, and by each worker that gets the weights, which keeps it."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sparknet.clusters.spark.jobs.running import pickled
from sparknet.clusters.spark.workers.net_cache import device_of, kept_net
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
    """What a net with weights is made of, on the driver.

    Parameters
    ----------
    factory
        The factory, pickled.
    weights
        The message of the weights.
    device
        Where the factory's nets are.
    """

    factory: bytes
    weights: bytes
    device: str

    @classmethod
    def of(cls, who: str, factory: NetFactory, weights: WeightCollection | Contents | Taken) -> "TrainedNet":
        """Return the net of a factory with these weights; an error begins with ``who``."""
        weights = given_weights(weights, f"{who}: weights")
        with located(who):
            return cls(pickled("the factory", factory), dumps(weights), device_of(factory))

    def on_driver(self) -> Net:
        """Return the net, made by :func:`~sparknet.nets.base.driver_net`."""
        return _made(self.factory, self.weights, driver_net)

    def sent(self, parcel: Parcel) -> "SentNet":
        """Return the net as workers have it, whose weights are the message in ``parcel``."""
        key = blake2b(blake2b(self.factory).digest() + blake2b(self.weights).digest()).hexdigest()
        return SentNet(key, self.factory, parcel, self.device)

    def send(self, transport: Transport) -> Parcel:
        """Send the weights to the workers."""
        return transport.send([self.weights])


@dataclass(frozen=True)
class SentNet:
    """A net on its way to the workers; small and picklable.

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
        """Return this worker's net, made if the worker has not kept it."""
        return kept_net(self.key, self._made, most=_MOST_NETS, device=self.device)

    def _made(self) -> Net:
        (weights,) = self.parcel.open(0)
        return _made(self.factory, weights)


def _made(pickled_factory: bytes, weights: bytes, make: Callable[[Any], Net] = lambda factory: factory(seed=0)) -> Net:
    net = make(pickle.loads(pickled_factory))  # noqa: S301 - pickled by the caller's own driver
    net.set_weights(loads(weights, verify=True))
    return net
