"""Where the driver listens, and where its workers reach it.

What a user gives is checked when the cluster is made. What Spark's settings say is taken as it is: whether the driver can listen there, and
workers get there, is tried when a session opens.
"""

import ipaddress
import re
from typing import Any

from sparknet.errors import DataError

__all__ = ["address_of", "cannot_listen", "host_and_port", "is_local", "unused_host"]

_LOOPBACK = "127.0.0.1"
_MOST = 65535  # of a port
_PORT = r"(?::([0-9]{1,5}))?"
_NAMED = re.compile(rf"([^\s:/\[\]]+){_PORT}")
_BRACKETED = re.compile(rf"\[([^\s\[\]]+)\]{_PORT}")


def is_local(context: Any) -> bool:
    """Say whether all tasks run on this machine, in Spark's own process."""
    return bool(context.master == "local" or context.master.startswith("local["))


def host_and_port(address: Any) -> tuple[str, int]:
    """Return the host of an address, without brackets, and its port; 0 if it has none.

    Raises
    ------
    DataError
        It is neither ``host`` nor ``host:port``. An IPv6 address with a port is in brackets.

    Examples
    --------
    >>> host_and_port("gate:4711"), host_and_port("[fd00::5]:4711"), host_and_port("fd00::5")
    (('gate', 4711), ('fd00::5', 4711), ('fd00::5', 0))
    """
    text = address if isinstance(address, str) else ""
    named, bracketed = _NAMED.fullmatch(text), _BRACKETED.fullmatch(text)
    found = named or (bracketed if bracketed and _is_ipv6(bracketed[1]) else None)
    host, port = found.groups() if found else (text if _is_ipv6(text) else "", None)
    if not host or int(port or 0) > _MOST:
        msg = (
            f"SparkCluster: address={address!r}; expected 'host' or 'host:port', with a port from 0 (any) to {_MOST}; an IPv6 address with a "
            "port is in brackets, as in '[fd00::5]:4711'"
        )
        raise DataError(msg)
    return host, int(port or 0)


def address_of(context: Any, address: str | None) -> tuple[str, str, int]:
    """Return where the driver listens, under which name workers reach it, and on which port (0: any).

    ``address`` is what :func:`host_and_port` takes. By default it is what Spark's own executors use. On a local master workers are on
    this machine: only the port of ``address`` counts.
    """
    given, port = (None, 0) if address is None else host_and_port(address)
    if is_local(context):
        return _LOOPBACK, _LOOPBACK, port
    host = given or _without_brackets(context._conf.get("spark.driver.host"))
    return _without_brackets(context._conf.get("spark.driver.bindAddress", host)), host, port


def unused_host(context: Any, address: str) -> str:
    """Return the host of an address if no worker uses it, because all are on this machine; else ""."""
    host, _ = host_and_port(address)
    return host if is_local(context) and host not in (_LOOPBACK, "localhost") else ""


def cannot_listen(bound: str, port: int, error: OSError) -> str:
    """Return what is in the way of listening there, in words."""
    at, other = (f"{bound}:{port}", ", or give another port in address=") if port else (bound, "")
    return (
        f"the driver cannot listen at {at} ({error}); set spark.driver.bindAddress to an address of this machine{other}"
    )


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _without_brackets(host: str) -> str:
    return host.removeprefix("[").removesuffix("]")
