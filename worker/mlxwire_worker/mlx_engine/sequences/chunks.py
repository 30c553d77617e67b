"""Chooses the size of a slice of prefill from the time that earlier slices took."""

from __future__ import annotations


class ChunkSize:
    """The number of prompt tokens for one slice of prefill that takes about ``seconds``.

    ``tokens`` is a power of two, at most mlx-lm's own 2048. A slice is the longest time that a
    cancel waits and that the decoding rows stand still.
    """

    SMALLEST, LARGEST = 16, 2048

    def __init__(self, seconds: float = 0.1) -> None:
        self._seconds = seconds
        # Small until something is measured: 512 tokens took 0.7 s on two busy processor cores.
        self.tokens = 64

    def learn(self, tokens: int, seconds: float) -> None:
        """Adjust ``tokens`` to a measured slice; ignore a short one, which says little."""
        if tokens < self.SMALLEST or seconds <= 0:
            return
        fitting = tokens * self._seconds / seconds
        # Attention makes later slices of a prompt slower, so shrink at once and grow by doubling.
        if fitting < self.tokens:
            self.tokens = max(self.SMALLEST, 1 << max(int(fitting).bit_length() - 1, 0))
        elif fitting >= 2 * self.tokens and tokens * 2 >= self.tokens:
            self.tokens = min(self.LARGEST, 2 * self.tokens)
