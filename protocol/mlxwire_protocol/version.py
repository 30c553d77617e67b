"""Protocol versions and how two sides settle on one (SPEC §3)."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import WireError

SUPPORTED_PROTOCOLS: tuple[int, ...] = (1,)
"""Major versions of the enveloped wire that this package speaks; dialect 0 is not among them."""


def choose_version(
    offered: Iterable[int], supported: Iterable[int] = SUPPORTED_PROTOCOLS
) -> int:
    """The highest version both sides speak.

    Raises: WireError ``unsupported_protocol`` with ``data.supported`` if there is none.
    """
    ours = sorted(set(supported))
    common = set(offered) & set(ours)
    if not common:
        raise WireError(
            "unsupported_protocol",
            f"this worker speaks protocol {', '.join(map(str, ours))}; offer one of these "
            "in `protocols`, or install a matching version",
            data={"supported": ours},
        )
    return max(common)
