"""The torch backend: tensors on ``"torch:cpu"`` and ``"torch:cuda:N"``. The sole importer of torch here.

Tensors are wrapped as they are; an NDArray records nothing for autograd that torch itself would not.
"""

from importlib import import_module
from typing import Any

import numpy as np

from sparknet.backends.adapt import adapt
from sparknet.errors import MissingDependency

try:
    import array_api_compat.torch as namespace
    import torch
except ImportError as error:
    msg = f"the torch backend needs torch: pip install 'sparknet[torch]' ({error})"
    raise MissingDependency(msg, name="torch") from error


def _device(name: str) -> Any:
    found = torch.empty(0, device=name).device  # an error now, not at the first use, where there is none
    if str(found) != name:  # "cuda" is whichever is current
        msg = f"write {str(found)!r}"
        raise ValueError(msg)
    return found


# Types that torch does not exchange with numpy -> their bits, which it does; in numpy they are those of ml_dtypes.
_BITS = {torch.bfloat16: torch.int16, torch.float8_e4m3fn: torch.uint8, torch.float8_e5m2: torch.uint8}


def _from_host(array: np.ndarray[Any, Any], device: Any) -> Any:
    own = getattr(torch, array.dtype.name, None)
    if own not in _BITS:
        return torch.asarray(array, copy=True).to(device)
    return torch.from_numpy(array.view(f"u{array.itemsize}").copy()).view(own).to(device)


def _to_host(tensor: Any) -> np.ndarray[Any, Any]:
    here = tensor.detach().cpu()
    host: np.ndarray[Any, Any]
    if here.dtype in _BITS:
        dtype = getattr(import_module("ml_dtypes"), str(here.dtype).partition(".")[2])
        host = here.view(_BITS[here.dtype]).numpy().view(dtype)
    else:
        host = here.resolve_conj().resolve_neg().numpy()
    return host


BACKEND = adapt(
    "torch",
    namespace,
    torch.Tensor,
    _to_host,
    device=_device,
    device_of=lambda tensor: str(tensor.device),
    from_host=_from_host,
)
