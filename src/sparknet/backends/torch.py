"""The torch backend: tensors on ``"torch:cpu"`` and ``"torch:cuda:N"``. The sole importer of torch here.

Tensors are wrapped as they are; an NDArray records nothing for autograd that torch itself would not.
"""

from typing import TYPE_CHECKING, Any

from sparknet.backends.adapt import adapt
from sparknet.errors import MissingDependency

if TYPE_CHECKING:
    import numpy as np

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


def _from_host(array: "np.ndarray[Any, Any]", device: Any) -> Any:
    return torch.asarray(array, copy=True).to(device)


def _to_host(tensor: Any) -> "np.ndarray[Any, Any]":
    host: np.ndarray[Any, Any] = tensor.detach().cpu().resolve_conj().resolve_neg().numpy()
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
