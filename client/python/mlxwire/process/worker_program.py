"""Run one task in a program of the worker's package: it sends events and a result, and ends.

The client imports no MLX, so tasks that need it run this way, without the protocol. The program ends
with this process: it notices the end of its stdin, and removes unfinished files.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import orjson

from ..errors import InternalError, InvalidParams, SpawnFailed
from ..results import error_from_code
from .find_worker import SAFE_PATH, WORKER_MODULE, find_worker, worker_python

OnEvent = Callable[[dict[str, Any]], object]
_READ_BYTES = 1 << 16
_STDERR_BYTES = 2000


async def run_program(
    module: str,
    arguments: Sequence[str] = (),
    *,
    task: Mapping[str, Any] | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Run a module of the worker's package, and return the fields of its result.

    ``task`` is written to its stdin. ``on_event`` receives the fields of each event before the
    result. If this is cancelled, the program is ended first. Raises: MlxwireError.
    """
    line = b"" if task is None else _as_line(task)
    interpreter = worker_python(find_worker())
    command = (interpreter, *SAFE_PATH, "-m", f"{WORKER_MODULE}.{module}", *arguments)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,  # its end tells the program that this process is gone
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise SpawnFailed(
            f"{interpreter} can't be started ({error.strerror}); check the worker's command"
        ) from None
    errors = asyncio.ensure_future(_tail(process))
    try:
        if process.stdin is not None:
            process.stdin.write(line)
        last = await _last_event(process, on_event)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
    tail = (await errors).decode("utf-8", "replace")
    match last.pop("event", None):
        case "result":
            return last
        case "error":
            raise error_from_code(
                last["code"], last["message"], retryable=last["retryable"], data=last["data"]
            )
    raise InternalError(
        f"the program {module} ended with exit code {process.returncode} and no result; try again, and "
        "report it if it fails again",
        stderr_tail=tail,
    )


def _as_line(task: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(dict(task)) + b"\n"
    except TypeError as error:
        names = [name for name, value in task.items() if not _is_json(value)]
        raise InvalidParams(
            f"`{names[0]}` can't be sent to the program ({error}); give a number or valid Unicode text",
            data={"field": names[0]},
        ) from None


def _is_json(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


async def _last_event(process: Process, on_event: OnEvent | None) -> dict[str, Any]:
    """Read events to the end; pass on each report of progress, and return the result or the error."""
    last: dict[str, Any] = {}
    async for line in _lines(process):
        event: dict[str, Any] = orjson.loads(line)
        if event["event"] != "progress":
            last = event
        elif on_event is not None:
            del event["event"]
            on_event(event)
    return last


async def _lines(process: Process) -> AsyncIterator[bytes]:
    assert process.stdout is not None
    rest = b""
    while chunk := await process.stdout.read(_READ_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line


async def _tail(process: Process) -> bytes:
    """Read stderr to its end, and return the last bytes of it."""
    assert process.stderr is not None
    tail = b""
    while chunk := await process.stderr.read(_READ_BYTES):
        tail = (tail + chunk)[-_STDERR_BYTES:]
    return tail
