"""The protocol versions of this package, and the choice of one with a client (SPEC §3)."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import WireError

SUPPORTED_PROTOCOLS: tuple[int, ...] = (1,)
"""The major versions of dialect 1 that this package speaks. Dialect 0 has no version."""


def choose_version(
    offered: Iterable[int], supported: Iterable[int] = SUPPORTED_PROTOCOLS
) -> int:
    """Return the highest version that both sides speak.

    Raises: WireError ``unsupported_protocol`` with ``data.supported`` if there is none.
    """
    ours = sorted(set(supported))
    common = set(offered) & set(ours)
    if not common:
        raise WireError(
            "unsupported_protocol",
            f"`protocols` has no version that this worker speaks; it speaks "
            f"{', '.join(map(str, ours))}. Offer one of these, or install a matching version",
            data={"supported": ours},
        )
    return max(common)
