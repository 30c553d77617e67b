"""Convert a model folder, blocking."""

from __future__ import annotations

from ..conversion import Conversion
from ..conversion import convert as convert_async
from ..options import OnProgress, Path
from .loop_thread import LoopThread


def convert(
    source: Path,
    out: Path,
    *,
    bits: int | None = None,
    group_size: int | None = None,
    mode: str | None = None,
    mixed: str | None = None,
    dtype: str | None = None,
    dequantize: bool = False,
    text: Path | None = None,
    target_bits: float | None = None,
    on_progress: OnProgress | None = None,
) -> Conversion:
    """Write a model in another form into a new folder, as `mlxwire.convert` does, and wait for it.

    Ctrl-C ends it, and leaves nothing at ``out``. Raises: as `mlxwire.convert`.
    """
    thread = LoopThread()
    try:
        return thread.call(
            convert_async(
                source,
                out,
                bits=bits,
                group_size=group_size,
                mode=mode,
                mixed=mixed,
                dtype=dtype,
                dequantize=dequantize,
                text=text,
                target_bits=target_bits,
                on_progress=on_progress,
            )
        )
    finally:
        thread.stop()
