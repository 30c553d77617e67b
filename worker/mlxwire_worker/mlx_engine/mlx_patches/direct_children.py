"""A model's modules as plain attributes of their parents, for a forward pass's Python.

An `nn.Module` is a dict that holds its parts as items: each `self.q_proj` is an attribute that
is missed first and then looked for by `__getattr__`, in fifteen times the time. A layer has a
dozen of them, and with one stream on a GPU the host's Python is what a token waits for.
"""

from __future__ import annotations

from mlx import nn


def hold_children_directly(model: nn.Module) -> None:
    """Let every part be found at the first look; the dict's items stay as they are.

    Comes last: a part that is replaced afterwards would still be found as it was.
    """
    for module in model.modules():
        for name, part in module.items():
            if isinstance(part, nn.Module | list):
                object.__setattr__(module, name, part)
