"""The standard's ``linalg`` extension on NDArrays."""

from typing import TYPE_CHECKING, Any

from sparknet.nd.delegate import functions
from sparknet.nd.standard import LINALG

_FUNCTIONS = functions(LINALG, "linalg")
globals().update(_FUNCTIONS)

__all__ = list(_FUNCTIONS)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Tell type checkers that the functions of the table exist."""
