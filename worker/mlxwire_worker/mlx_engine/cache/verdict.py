"""The outcome of the check of a model (`model_check`)."""

from __future__ import annotations

import msgspec


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The operations with which a model answers as it does alone and without a cache.

    ``together``: rows whose caches hold unlike numbers of tokens decode in one batch. ``padded``:
    rows of unlike length are prefilled in one batch. ``cut``: a cache's last tokens can be cut off.
    """

    together: bool
    padded: bool
    cut: bool


CAREFUL = Verdict(together=False, padded=False, cut=False)
"""The verdict before a model is checked: each sequence runs alone."""
