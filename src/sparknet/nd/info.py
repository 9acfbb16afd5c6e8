"""The standard's inspection API: what the namespace can do, by device."""

from typing import Any

from sparknet.backends import backend_for_device, get_backend

__all__ = ["NamespaceInfo"]


class NamespaceInfo:
    """Capabilities, devices and dtypes of the backend of a device.

    Examples
    --------
    >>> NamespaceInfo().default_device()
    'cpu'
    """

    def capabilities(self) -> dict[str, Any]:
        """Return the capabilities that the standard leaves open: boolean indexing, data-dependent shapes, the most axes."""
        info: dict[str, Any] = get_backend("numpy").namespace.__array_namespace_info__().capabilities()
        return info

    def default_device(self) -> str:
        """Return the device of arrays made without ``device=``."""
        return "cpu"

    def default_dtypes(self, *, device: str | None = None) -> dict[str, Any]:
        """Return the dtypes of arrays made without ``dtype=``."""
        return _numpys(self._of(device).default_dtypes(), device)

    def dtypes(self, *, device: str | None = None, kind: Any = None) -> dict[str, Any]:
        """Return dtype name -> dtype, of one kind or of several."""
        return _numpys(self._of(device).dtypes(kind=kind), device)

    def devices(self) -> tuple[str, ...]:
        """Return the devices that need no optional package."""
        return ("cpu",)

    def _of(self, device: str | None) -> Any:
        return backend_for_device(device or "cpu").namespace.__array_namespace_info__()


def _numpys(found: dict[str, Any], device: str | None) -> dict[str, Any]:
    dtypes = backend_for_device(device or "cpu").dtypes or {}
    return {name: dtypes.get(dtype, dtype) for name, dtype in found.items()}
