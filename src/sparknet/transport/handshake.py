"""Driver and worker prove to each other that they know the secret of the session; without it neither hears a word.

Challenge and response by HMAC-SHA256 (RFC 2104), both ways, over random numbers of both sides: what was recorded of one connection
proves nothing on another. All three messages have a fixed length. The secret itself is never sent. Who can change what is on the wire
afterwards is kept out by TLS alone (:mod:`.tls`).
"""

import hmac
import secrets
from dataclasses import dataclass, field

from sparknet.errors import ClusterError, DataError

__all__ = [
    "ANSWER_BYTES",
    "GREETING_BYTES",
    "PROOF_BYTES",
    "Credentials",
    "DriverHandshake",
    "WorkerHandshake",
    "new_secret",
]

_GREETING = b"sparknet"
_RANDOM = 32  # bytes
_SHORTEST = 16  # bytes of a secret
PROOF_BYTES = 32  # of a SHA-256
GREETING_BYTES = len(_GREETING) + _RANDOM
ANSWER_BYTES = _RANDOM + PROOF_BYTES


def new_secret() -> bytes:
    """Return a secret for a session: 32 random bytes."""
    return secrets.token_bytes(32)


@dataclass(frozen=True)
class Credentials:
    """What a worker has to know of a session, to prove itself and to know the driver: one value that can be pickled.

    Parameters
    ----------
    secret
        That of the session. It is not in the ``repr``, so it comes into no log.
    certificate
        Of the driver, in DER, where the session is encrypted; else None.

    Examples
    --------
    >>> Credentials(new_secret())
    Credentials(certificate=None)
    """

    secret: bytes = field(repr=False)
    certificate: bytes | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.secret, bytes) or len(self.secret) < _SHORTEST:
            length = f" of {len(self.secret)}" if isinstance(self.secret, bytes) else ""
            msg = (
                f"the secret of a session is {type(self.secret).__name__}{length}; expected at least {_SHORTEST} bytes that nobody can "
                "guess: take new_secret() once, and hand Hub.credentials to the workers"
            )
            raise DataError(msg)


class WorkerHandshake:
    """The side that connects: it greets, and proves itself once the driver has.

    Examples
    --------
    >>> secret = new_secret()
    >>> worker, driver = WorkerHandshake(secret), DriverHandshake(secret)
    >>> driver.check(worker.proof(driver.answer(worker.greeting())))
    """

    def __init__(self, secret: bytes) -> None:
        self._secret, self._random = secret, secrets.token_bytes(_RANDOM)

    def greeting(self) -> bytes:
        """Return what is sent first."""
        return _GREETING + self._random

    def proof(self, answer: bytes) -> bytes:
        """Return what proves this side; raise a ClusterError if the driver's answer does not prove the driver."""
        theirs, proof = answer[:_RANDOM], answer[_RANDOM:]
        if not hmac.compare_digest(proof, _proof(self._secret, b"driver", self._random, theirs)):
            msg = "what answers at the driver's address does not know the secret of this session"
            raise ClusterError(msg)
        return _proof(self._secret, b"worker", self._random, theirs)


class DriverHandshake:
    """The side that is connected to."""

    def __init__(self, secret: bytes) -> None:
        self._secret, self._random, self._theirs = secret, secrets.token_bytes(_RANDOM), b""

    def answer(self, greeting: bytes) -> bytes:
        """Return what proves the driver; raise a ClusterError if this is no greeting."""
        if not greeting.startswith(_GREETING) or len(greeting) != GREETING_BYTES:
            msg = f"got {greeting[:16]!r}, expected the greeting of a worker"
            raise ClusterError(msg)
        self._theirs = greeting[len(_GREETING) :]
        return self._random + _proof(self._secret, b"driver", self._theirs, self._random)

    def check(self, proof: bytes) -> None:
        """Raise a ClusterError unless this proves a worker."""
        if not hmac.compare_digest(proof, _proof(self._secret, b"worker", self._theirs, self._random)):
            msg = "a peer does not know the secret of this session"
            raise ClusterError(msg)


def _proof(secret: bytes, who: bytes, workers: bytes, drivers: bytes) -> bytes:
    return hmac.digest(secret, who + workers + drivers, "sha256")
