"""The certificate of a session, made by the package cryptography (extra ``tls``). The only module that imports it.

There is no authority behind it: workers take this certificate and no other. Its key is new for each hub. It leaves its process in one case
alone: workers that combine weights among themselves get it over their encrypted connections.
"""

import datetime as dt
from dataclasses import dataclass, field

from sparknet.errors import MissingDependency

__all__ = ["Certificate", "new_certificate", "new_keys"]

_NAME = "sparknet"
_BEFORE = dt.timedelta(days=1)  # the clocks of workers differ
_AFTER = dt.timedelta(days=365)  # a worker may have to connect again as long as the session lasts


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key.

    Parameters
    ----------
    public
        The certificate in DER, for the workers.
    private
        Key and certificate in PEM, for the driver alone.
    """

    public: bytes
    private: bytes = field(repr=False)


def new_certificate() -> Certificate:
    """Return a new key on the curve P-256, which every OpenSSL has, and a certificate that it has signed itself.

    Raises
    ------
    MissingDependency
        The package cryptography is not there.

    Examples
    --------
    >>> new_certificate() == new_certificate()
    False
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        msg = (
            "encryption needs a certificate for the session, which the package cryptography makes: "
            "pip install 'sparknet[tls]'"
        )
        raise MissingDependency(msg, name="cryptography") from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - _BEFORE, now + _AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(
        certificate.public_bytes(serialization.Encoding.DER),
        secret + certificate.public_bytes(serialization.Encoding.PEM),
    )


def new_keys(encrypt: bool) -> tuple[bytes | None, bytes | None]:
    """Return both parts of a new certificate; None each where nothing is encrypted."""
    if not encrypt:
        return None, None
    certificate = new_certificate()
    return certificate.public, certificate.private
