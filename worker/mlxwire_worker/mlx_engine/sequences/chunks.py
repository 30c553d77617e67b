"""How large a slice of prefill may be, learned from how long slices take."""

from __future__ import annotations


class ChunkSize:
    """Prompt tokens for one prefill slice that lasts about ``seconds``: a power of two, at most
    mlx-lm's own 2048. It bounds how long a cancel waits and how long others' decode stalls.
    """

    SMALLEST, LARGEST = 16, 2048

    def __init__(self, seconds: float = 0.1) -> None:
        self._seconds = seconds
        # Small, since nothing is known yet: 512 took 0.7 s on two busy processor cores.
        self.tokens = 64

    def learn(self, tokens: int, seconds: float) -> None:
        """Take a measured slice into account; a short one says little and is ignored."""
        if tokens < self.SMALLEST or seconds <= 0:
            return
        fitting = tokens * self._seconds / seconds
        # Attention makes later chunks of a prompt slower, so shrink at once and grow by steps.
        if fitting < self.tokens:
            self.tokens = max(self.SMALLEST, 1 << max(int(fitting).bit_length() - 1, 0))
        elif fitting >= 2 * self.tokens and tokens * 2 >= self.tokens:
            self.tokens = min(self.LARGEST, 2 * self.tokens)
