"""One answer: stream it to stdout, let Ctrl-C cancel it, and say what it took."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import msgspec

from ..model import Model
from ..options import OnProgress
from ..results import Done
from ..stream import TokenStream
from .arguments import Launch
from .launch import launch_worker, load_model
from .terminal import ProgressBar, print_json, say, write_text

Ask = Callable[[Model, OnProgress], TokenStream]
IMPATIENT = 3
"""The press of Ctrl-C that no longer waits for the worker, or for whoever reads stdout."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came. ``text`` is plain text; ``channels`` has other text, such as thinking."""

    text: str
    channels: dict[str, str]
    done: Done
    interrupted: bool

    def as_object(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        channels = {"channels": self.channels} if self.channels else {}
        return {"text": self.text, **channels, **msgspec.to_builtins(self.done)}


async def answer_once(launch: Launch, ask: Ask, *, json: bool) -> None:
    """A worker for one answer.

    Raises: KeyboardInterrupt after an answer that was cancelled; otherwise as `take_answer`.
    """
    worker = await launch_worker(launch)
    try:
        model = await load_model(worker, launch)
        answer = await take_answer(model, ask, launch, json=json)
    finally:
        await worker.close()
    if answer.interrupted:
        raise KeyboardInterrupt


async def take_answer(model: Model, ask: Ask, launch: Launch, *, json: bool) -> Answer:
    """Send a request and show its answer as it comes; Ctrl-C cancels it and nothing else.

    Raises: MlxwireError, BrokenPipeError where nobody reads stdout.
    """
    with ProgressBar(quiet=launch.quiet) as bar:
        stream = ask(model, bar)
        with interrupts(stream.abandon) as presses:
            async with stream:
                text, channels = await _take_text(stream, bar, shown=not json)
    answer = Answer(text, channels, stream.done, bool(presses))
    if json:
        print_json(answer.as_object())
    elif not text.endswith("\n"):
        write_text("\n")
    if not launch.quiet:
        say(figures(answer.done), "dim")
    return answer


async def _take_text(
    stream: TokenStream, bar: ProgressBar, *, shown: bool
) -> tuple[str, dict[str, str]]:
    pieces: list[str] = []
    channels: dict[str, str] = {}
    while tokens := await stream.take_available():
        bar.close()
        plain = "".join(token.text for token in tokens if token.channel is None)
        pieces.append(plain)
        for token in tokens:
            if token.channel is not None:
                channels[token.channel] = channels.get(token.channel, "") + token.text
                if shown:
                    say(token.text, "dim italic", end="")
        if shown and plain:
            write_text(plain)
    return "".join(pieces), channels


def figures(done: Done) -> str:
    """A line about an answer: ``12 tokens · 96.5 tokens/s · first after 23 ms · stop``."""
    metrics, count = done.metrics, done.tokens_generated
    parts = [f"{count} token{'' if count == 1 else 's'}"]
    if metrics.decode_tokens_per_second:
        parts.append(f"{metrics.decode_tokens_per_second:.1f} tokens/s")
    if metrics.first_token_seconds is not None:
        parts.append(f"first after {metrics.first_token_seconds * 1000:.0f} ms")
    if metrics.cached_tokens:
        parts.append(f"{metrics.cached_tokens} of {metrics.prompt_tokens} prompt tokens cached")
    return " · ".join([*parts, done.finish_reason])


@contextmanager
def interrupts(callback: Callable[[], None]) -> Iterator[list[int]]:
    """Inside, Ctrl-C calls ``callback`` on the running loop; yields the presses so far."""
    loop = asyncio.get_running_loop()
    presses: list[int] = []
    previous = signal.getsignal(signal.SIGINT)

    def pressed(number: int, _: FrameType | None) -> None:
        presses.append(number)
        if len(presses) >= IMPATIENT:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(callback)

    if previous == signal.SIG_IGN:  # as in the background of a script
        yield presses
        return
    signal.signal(signal.SIGINT, pressed)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, previous)
