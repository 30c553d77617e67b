"""The handshake: the request `hello`, and the checks of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mlxwire_protocol.results import HelloResult

from ..errors import HandshakeFailed, ProtocolViolation
from ..process.postmortem import describe_strays
from ..results import convert_reply
from .connection import Connection


async def greet(
    connection: Connection,
    *,
    version: str,
    require: Sequence[str],
    events: Sequence[str],
    seconds: float,
) -> HelloResult:
    """Shake hands over a connection and return the worker's answer.

    Raises: HandshakeFailed if no valid answer comes within ``seconds``, and the error that the
    worker refused the handshake with.
    """
    hello = connection.send_hello(version=version, require=require, events=events)
    try:
        async with asyncio.timeout(seconds):
            while not hello.over:
                await hello.wait()
    except TimeoutError:
        raise HandshakeFailed(
            f"the worker did not answer hello within {seconds:g} s"
            f"{describe_strays(connection.stray_lines)}. Check that the command is a worker, or "
            "give it a longer start_timeout"
        ) from None
    if hello.error is not None:
        raise hello.error
    assert hello.final is not None
    try:
        result = convert_reply(hello.final, HelloResult)
    except ProtocolViolation as error:
        raise HandshakeFailed(error.message) from None
    connection.has_windows = bool(result.capabilities.get("window"))
    return result
