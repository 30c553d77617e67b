"""Stores a model's submodules as plain attributes too, for a faster forward pass in Python.

Replaces the attribute look-up of `mlx.nn.Module` (mlx 0.32.4). A module is a dict whose items are
its parts: Python first misses the attribute in `self.q_proj` and then calls `__getattr__`, which
takes fifteen times as long. A layer has a dozen such look-ups, and with one stream on a GPU each
token waits for the host's Python.
"""

from __future__ import annotations

from mlx import nn


def hold_children_directly(model: nn.Module) -> None:
    """Set each submodule as an attribute of its parent; the dict's items stay as they are.

    Call this last: a submodule that is replaced afterwards would still be found as before.
    """
    for module in model.modules():
        for name, part in module.items():
            if isinstance(part, nn.Module | list):
                object.__setattr__(module, name, part)
