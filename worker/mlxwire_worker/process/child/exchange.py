"""One request and one reply of a child process that reads and writes lines."""

from __future__ import annotations

import os
import select
import subprocess
from time import monotonic


def exchange(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> bytes:
    """Write a request and read one line within ``seconds``, without blocking on either pipe.

    Raises: TimeoutError; OSError if the helper ended.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    sink, source = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(sink, False)
    deadline = monotonic() + seconds
    poll = select.poll()
    poll.register(sink, select.POLLOUT)
    poll.register(source, select.POLLIN)
    unsent = memoryview(request)
    if not unsent:
        poll.unregister(sink)
    received = bytearray()
    while not received.endswith(b"\n"):
        left = deadline - monotonic()
        ready = dict(poll.poll(max(left, 0) * 1000))
        if left <= 0 and not ready:
            raise TimeoutError
        if source in ready:
            chunk = os.read(source, 1 << 18)
            if not chunk:
                raise BrokenPipeError("the template process ended")
            received += chunk
        elif sink in ready:
            unsent = unsent[os.write(sink, unsent[: 1 << 16]) :]
            if not unsent:
                poll.unregister(sink)
    return bytes(received)
