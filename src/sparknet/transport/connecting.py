"""The way of a worker to its driver, or to another worker: a connection on which both have proved themselves."""

import contextlib
import socket
import time
from collections.abc import Iterator

from sparknet.errors import ClusterError
from sparknet.transport.handshake import ANSWER_BYTES, Credentials, WorkerHandshake
from sparknet.transport.limits import GREETS
from sparknet.transport.wire import Connection, exactly

__all__ = ["connected"]

_PAUSES = (0.1, 0.2, 0.4, 0.8)  # seconds before it is tried again


@contextlib.contextmanager
def connected(address: tuple[str, int], credentials: Credentials, whom: str = "the driver") -> Iterator[Connection]:
    """Return a connection to the driver, or whom errors are to name, and close it at the end.

    A driver whose port is full of strangers ends the oldest of those that have not proved themselves, perhaps this worker. So one that
    breaks off is tried again.

    Raises
    ------
    ClusterError
        The driver cannot be reached, broke off, or is another one.
    """
    connection = _tried(address, credentials, whom)
    try:
        yield connection
    finally:
        connection.close()


def _tried(address: tuple[str, int], credentials: Credentials, whom: str) -> Connection:
    place = f"{address[0]}:{address[1]}"
    broken: OSError | None = None
    until = time.monotonic() + GREETS
    for pause in (*_PAUSES, None):
        try:
            connection = socket.create_connection(address, timeout=GREETS)
        except OSError as error:
            if broken is not None:
                break
            msg = f"{whom} does not answer at {place} ({error}); give an address of it that workers can reach"
            raise ClusterError(msg) from error
        try:
            return _proved(connection, credentials, until)
        except OSError as error:
            connection.close()
            broken = error
        except ClusterError as error:
            connection.close()
            raise error.placed(f"{whom} at {place}") from error
        if pause is None or isinstance(broken, TimeoutError):
            break
        time.sleep(pause)
    advice = (
        "this worker may have another secret"
        if credentials.certificate is not None
        else "this worker may have another secret, or the session is encrypted: give workers Hub.credentials"
    )
    msg = f"{whom} at {place} broke off before work began ({broken}); {advice}"
    raise ClusterError(msg) from broken


def _proved(connection: socket.socket, credentials: Credentials, until: float) -> Connection:
    """Return the connection, encrypted where the driver has a certificate, once both sides have proved that they know the secret."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    proved: Connection = connection
    if credentials.certificate is not None:
        from sparknet.transport.tls import Channel, worker_context

        proved = Channel(connection, worker_context(credentials.certificate), until)
    handshake = WorkerHandshake(credentials.secret)
    proved.sendall(handshake.greeting())
    proved.sendall(handshake.proof(exactly(proved, ANSWER_BYTES, until)))
    return proved
