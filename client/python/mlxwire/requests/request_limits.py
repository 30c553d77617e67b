"""What one request may take: time, and memory for what its consumer has not taken yet."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_BUFFER_BYTES = 64 * 1024 * 1024
LARGEST_WINDOW = 4096
"""Messages of one stream on their way. By measurement (bench/client_python.py): 1,024 cost a tenth of
the speed of a worker that sends all at once, 4,096 a twentieth."""
WINDOW_MESSAGE_BYTES = 256
"""What a message of a window is taken to need of the buffer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """What a request may take: seconds (None: no limit) and bytes.

    ``request_timeout`` is for all of it, ``idle_timeout`` for the time without a message while
    its consumer waits. ``drain`` is how long a worker has to end a request that was cancelled.
    """

    request_timeout: float | None = None
    idle_timeout: float | None = None
    drain: float = 5.0
    buffer_bytes: int = DEFAULT_BUFFER_BYTES

    @property
    def window(self) -> int:
        """How many messages of a stream may be on their way."""
        return min(LARGEST_WINDOW, max(1, self.buffer_bytes // WINDOW_MESSAGE_BYTES))
