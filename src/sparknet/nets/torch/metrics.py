"""Functions for ``metrics=`` of a TorchNet."""

from typing import Any

__all__ = ["accuracy"]


def accuracy(output: Any, label: Any) -> Any:
    """Return the part of the rows whose largest score is that of the label: a tensor without axes, float32.

    Parameters
    ----------
    output
        Scores of shape (n, classes).
    label
        Classes of shape (n,) or (n, 1), integers in ``[0, classes)``.

    Examples
    --------
    >>> import torch
    >>> float(accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])))
    0.5
    """
    return (output.argmax(dim=1) == label.reshape(-1)).float().mean()
