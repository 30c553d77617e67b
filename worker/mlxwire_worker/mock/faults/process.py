"""Faults of the process: it exits, crashes, closes a pipe, floods stderr or leaves a child."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from typing import NoReturn

from .script import CHUNK_BYTES, Close, Crash, Exit, Grandchild, Stderr


def die(fault: Exit | Crash) -> NoReturn:
    """End the process at once, by an exit code or a signal, without writing another byte."""
    if isinstance(fault, Exit):
        os._exit(fault.code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an intended crash needs no core dump
    os.kill(os.getpid(), signal.Signals[fault.signal])
    while True:
        signal.pause()


def write_stderr(fault: Stderr) -> None:
    """Write the fault's number of bytes to stderr."""
    chunk = b"e" * CHUNK_BYTES
    if fault.line_bytes:
        line = b"e" * (fault.line_bytes - 1) + b"\n"
        chunk = line * max(1, CHUNK_BYTES // len(line))
    for done in range(0, fault.bytes, len(chunk)):
        view = memoryview(chunk)[: fault.bytes - done]
        while view:
            view = view[os.write(2, view) :]


def spawn_grandchild(fault: Grandchild, wire_in: int, wire_out: int) -> None:
    """Spawn a process that only holds the wire's pipes and stderr open."""
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"import time; time.sleep({fault.seconds})"],
        stdin=wire_in,
        stdout=wire_out,
        start_new_session=fault.own_session,
    )


def close_pipe(fault: Close, wire_in: int, wire_out: int) -> None:
    """Close stdin or stdout for the host, while the worker's loop notices nothing."""
    if fault.pipe == "stdout":
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, wire_out, inheritable=False)
        os.close(null)
    else:
        silence, _held_open = os.pipe()  # neither data nor an end ever arrives here
        os.dup2(silence, wire_in, inheritable=False)
        os.close(silence)
