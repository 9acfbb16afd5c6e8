"""Tensors by name in a file of ``torch.save``, such as a ``state_dict``, through torch (extra ``torch``).

torch reads such a file with ``weights_only=True``: its unpickler makes tensors and plain containers, and imports nothing that
the file names.
"""

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

from sparknet.errors import FormatError, SchemaError
from sparknet.files.regular import inflated_limit, open_regular, size_of
from sparknet.files.replacing import replacing
from sparknet.formats.contents import ALONE, Array, Contents, admitted, assemble, flatten, refused
from sparknet.ndarray import NDArray

__all__ = ["read", "write"]

_SAVE = "save the tensors alone, torch.save(model.state_dict(), path)"
# Under which programs put the state_dict into a checkpoint.
_STATE_DICTS = ("state_dict", "model_state_dict", "model", "module", "net", "params")


def read(path: Path, max_bytes: int | None) -> Contents:
    """Return the tensors of a file, in host memory, writable and independent of the file and of each other.

    ``max_bytes`` is the most that all tensors may have: several may show the same bytes of the file. None: 1 GiB, or 16 times the size
    of the file if that is more.
    """
    with open_regular(path) as file, refused(".pt"):
        backend, size = _backend(), size_of(file)
        _check_stored(file)
        try:
            found = backend.load_tensors(file)
        except UnpicklingError as error:
            raise FormatError(_refusal(str(error)), tensor=None, offset=None) from None
        hosts = {name: _host(name, each) for name, each in _tensors(found, backend.BACKEND.array_type).items()}
        _check_size(hosts, size, max_bytes)
        return Contents(assemble({name: admitted(name, host.copy()) for name, host in hosts.items()}), {})


def write(path: Path, obj: Any, metadata: dict[str, Any]) -> None:  # noqa: ARG001 - the format has none
    """Write the arrays of ``obj`` as a dict of tensors.

    The bytes are made in memory first: on a full disk torch raises an error of its own.
    """
    backend, tensors = _backend(), {}
    for name, array in flatten(obj).items():
        try:
            tensors[name] = NDArray(array).to_device("torch:cpu").unwrap()
        except TypeError as error:
            msg = f"tensor {name!r} is {array.dtype.name}, which torch has not: {error}"
            raise SchemaError(msg, tensor=name, got=array.dtype.name) from error
    data = io.BytesIO()
    backend.save_tensors(tensors, data)
    with replacing(path) as file:
        file.write(data.getbuffer())


def _backend() -> Any:
    from sparknet.backends import torch  # a MissingDependency without torch

    return torch


def _check_stored(file: BinaryIO) -> None:
    """Refuse an archive that inflates: torch.save compresses nothing, and torch.load inflates whatever it is told to."""
    if zipfile.is_zipfile(file):
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    msg = f"{entry.filename[:200]!r} is compressed; expected an archive as torch.save writes it, which compresses nothing"
                    raise FormatError(msg, tensor=None, offset=None)
    file.seek(0)


def _refusal(said: str) -> str:
    """Return the message for a file that torch refuses to read as weights alone. torch's own advises to trust it."""
    code = re.search(r"GLOBAL ([\w.]+)", said)
    if code:
        return f"holds {code[1]}, which is code and no tensor; expected tensors by name: {_SAVE}"
    return f"damaged, or no .pt file: {' '.join(said.split())[:200]}"


def _tensors(found: Any, kind: type) -> dict[str, Any]:
    """Return name -> tensor of what a file holds, or raise a FormatError that says what else it holds."""
    if isinstance(found, kind):
        return {ALONE: found}
    if not isinstance(found, Mapping):
        msg = f"holds {type(found).__name__}; expected tensors by name: {_SAVE}"
        raise FormatError(msg, tensor=None, offset=None)
    others = [name for name, value in found.items() if not isinstance(name, str) or not isinstance(value, kind)]
    if not others:
        return dict(found)
    inner = next((name for name in _STATE_DICTS if isinstance(found.get(name), Mapping)), None)
    fix = (
        _SAVE
        if inner is None
        else f"write its tensors, torch.save(torch.load(path, weights_only=True)[{inner!r}], new_path)"
    )
    names = ", ".join(repr(name)[:60] for name in others[:5])
    msg = f"holds more than tensors by name: {names}{', ...' if len(others) > 5 else ''}; {fix}"
    raise FormatError(msg, tensor=None, offset=None)


def _host(name: str, tensor: Any) -> Array:
    """Return a tensor as a numpy array over its memory."""
    try:
        return NDArray(tensor).to_host()
    except TypeError as error:
        msg = f"tensor {name!r}: {error}"
        raise FormatError(msg, tensor=name, offset=None) from error


def _check_size(hosts: Mapping[str, Array], size: int, max_bytes: int | None) -> None:
    nbytes, limit = sum(host.nbytes for host in hosts.values()), inflated_limit(size, max_bytes)
    if nbytes > limit:
        msg = f"{size} bytes that become {nbytes}; the limit is {limit}. Pass max_bytes={nbytes} if you trust where it comes from"
        raise FormatError(msg, tensor=None, offset=None)
