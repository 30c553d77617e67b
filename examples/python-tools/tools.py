"""A question that the model answers with two functions; shows text, thoughts and calls as they come."""

from __future__ import annotations

import asyncio
import datetime
import sys
import zoneinfo
from typing import Annotated

import mlxwire


async def local_time(zone: Annotated[str, "A zone of the IANA, such as Europe/Oslo"]) -> str:
    """Tell the date and time in a time zone."""
    return datetime.datetime.now(zoneinfo.ZoneInfo(zone)).isoformat(timespec="minutes")


def add(numbers: list[float]) -> float:
    """Add numbers."""
    return sum(numbers)


def show(token: mlxwire.Token) -> None:
    """Show text on stdout, and thoughts and calls on stderr."""
    if token.tool_call is not None:
        name, arguments = token.tool_call.name, token.tool_call.arguments
        text = arguments if name is None else f"\n[{name}] "
        print(text, end="", file=sys.stderr, flush=True)
    elif token.channel is not None:
        print(token.text, end="", file=sys.stderr, flush=True)
    else:
        print(token.text, end="", flush=True)


def show_result(result: mlxwire.ToolResult) -> None:
    """Show what a function told the model."""
    print(f" -> {result.content}", file=sys.stderr)


async def answer(path: str, question: str) -> None:
    """Load a model, and answer a question."""
    async with mlxwire.Worker() as worker:
        model = await worker.load(path)
        try:
            await mlxwire.run_tools(
                model,
                question,
                [local_time, add],
                max_rounds=5,
                max_tokens=1000,
                on_token=show,
                on_result=show_result,
            )
        except mlxwire.InvalidAnswer as error:  # too many rounds, or a call that was cut off
            print(error.message, file=sys.stderr)
    print()


if __name__ == "__main__":
    asyncio.run(answer(*sys.argv[1:3]))
