"""Stream one answer to stdout, let Ctrl-C cancel it, and report its figures."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from types import FrameType
from typing import Any

import msgspec

from ..errors import MlxwireError, RequestCancelled
from ..model import Model
from ..options import OnProgress
from ..results import Done, Token
from ..token_stream import TokenStream
from .arguments import Launch
from .launch import launch_worker, load_model
from .terminal import ProgressBar, print_json, say, write_text

Ask = Callable[[Model, OnProgress], TokenStream]
THOUGHT_ALONE = (
    "no answer: the model's thoughts took all tokens; raise --max-tokens, or limit the thoughts by "
    "--thinking-budget or --no-thinking"
)
PATIENT_PRESSES = 2
"""Presses of Ctrl-C after which this still waits for the worker and for the reader of stdout."""


class Impatient(KeyboardInterrupt):
    """Raised at a further Ctrl-C: it interrupted the event loop, which must end now."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``text``: the plain text. ``channels``: other text, such as thinking."""

    text: str
    channels: dict[str, str]
    tokens: list[Token]
    done: Done
    interrupted: bool

    def as_object(self) -> dict[str, Any]:
        """Return what ``--json`` prints; include tokens only if they have log-probabilities."""
        channels = {"channels": self.channels} if self.channels else {}
        scored = any(token.logprob is not None for token in self.tokens)
        tokens = {"tokens": [_scored(token) for token in self.tokens]} if scored else {}
        done = msgspec.to_builtins(self.done)
        for name in ("tool_calls", "tool_error"):  # no command gives tools
            del done[name]
        return {"text": self.text, **channels, **tokens, **done}


async def answer_once(launch: Launch, ask: Ask, *, json: bool, thoughts: bool = True) -> None:
    """Start a worker for one answer, and close it.

    Raises: KeyboardInterrupt after an answer that was cancelled; otherwise as `take_answer`.
    """
    worker = await launch_worker(launch)
    try:
        model = await load_model(worker, launch)
        answer = await take_answer(model, ask, launch, json=json, thoughts=thoughts)
    finally:
        await worker.close()
    if answer.interrupted:
        raise KeyboardInterrupt


async def take_answer(
    model: Model, ask: Ask, launch: Launch, *, json: bool, thoughts: bool = True
) -> Answer:
    """Send a request and show its answer as it comes; Ctrl-C cancels only the request.

    ``thoughts`` False leaves out what is not plain text.

    Raises: MlxwireError, BrokenPipeError if nobody reads stdout.
    """
    came = AnswerText(shown=not json, thoughts=thoughts)
    with ProgressBar(quiet=launch.quiet) as bar:
        stream = ask(model, bar)
        with interrupts(stream.abandon) as presses:
            try:
                async with stream:
                    try:
                        while tokens := await stream.take_available():
                            bar.close()
                            came.add(tokens)
                    except RequestCancelled:
                        if not presses:
                            raise
            except MlxwireError:
                if came.text:
                    came.end_line()
                raise
            if presses and stream.id is None:
                raise KeyboardInterrupt  # pressed before the request was sent
            came.end_line()
            answer = Answer(came.text, came.channels, came.tokens, stream.done, bool(presses))
            if json:
                print_json(answer.as_object())
            else:
                write_text(scores(answer.tokens))
            if not launch.quiet:
                say(figures(answer.done), "dim")
            if thought_alone(answer):
                say(THOUGHT_ALONE)
    return answer


def thought_alone(answer: Answer) -> bool:
    """Return True if the tokens were spent before the model came to its answer."""
    done = answer.done
    spent = done.finish_reason == "length" and done.metrics.thinking_tokens > 0
    return spent and not answer.text.strip()


class AnswerText:
    """The answer so far. If ``shown``, plain text goes to stdout, other channels dim to stderr.

    ``thoughts`` False drops other channels.
    """

    def __init__(self, *, shown: bool, thoughts: bool = True) -> None:
        self.text = ""
        self.channels: dict[str, str] = {}
        self.tokens: list[Token] = []
        self._shown = shown
        self._thoughts = thoughts
        self._channel: str | None = None

    def add(self, tokens: Sequence[Token]) -> None:
        """Add tokens, and write each run of one channel at once."""
        if not self._thoughts:
            tokens = [token for token in tokens if token.channel is None]
        self.tokens += tokens
        for channel, run in groupby(tokens, key=lambda token: token.channel):
            text = "".join(token.text for token in run)
            if self._shown and channel is None and self._channel is not None:
                say("")
            self._channel = channel
            if channel is None:
                self.text += text
                if self._shown:
                    write_text(text)
            else:
                self.channels[channel] = self.channels.get(channel, "") + text
                if self._shown:
                    say(text, "dim italic", end="")

    def end_line(self) -> None:
        """End the lines on stderr and stdout, unless they are ended already."""
        if self._shown and self._channel is not None:
            say("")
        if self._shown and not self.text.endswith("\n"):
            write_text("\n")


def scores(tokens: Sequence[Token]) -> str:
    """Return a line for each token that has a log-probability: this number, the id, the text.

    Text that was held back until the end is no token of its own, and gets no line.
    """
    scored = [token for token in tokens if token.logprob is not None and not token.flush]
    width = max((len(str(token.id)) for token in scored), default=0)
    return "".join(f"{t.logprob:9.4f}  {t.id:>{width}}  {t.text!r}\n" for t in scored)


def _scored(token: Token) -> dict[str, Any]:
    return {"text": token.text, "id": token.id, "logprob": token.logprob}


def figures(done: Done) -> str:
    """Return a line about an answer: ``12 tokens · 96.5 tokens/s · first after 23 ms · stop``."""
    metrics, count = done.metrics, done.tokens_generated
    parts = [f"{count} token{'' if count == 1 else 's'}"]
    if metrics.thinking_tokens:
        parts.append(f"{metrics.thinking_tokens} of them thoughts")
    if metrics.decode_tokens_per_second:
        parts.append(f"{metrics.decode_tokens_per_second:.1f} tokens/s")
    if metrics.first_token_seconds is not None:
        parts.append(f"first after {metrics.first_token_seconds * 1000:.0f} ms")
    if metrics.cached_tokens:
        parts.append(f"{metrics.cached_tokens} of {metrics.prompt_tokens} prompt tokens cached")
    return " · ".join([*parts, done.finish_reason])


@contextmanager
def interrupts(callback: Callable[[], None]) -> Iterator[list[int]]:
    """Make Ctrl-C call ``callback`` on the running loop; yield the list of presses so far."""
    loop = asyncio.get_running_loop()
    presses: list[int] = []
    previous = signal.getsignal(signal.SIGINT)

    def pressed(number: int, _: FrameType | None) -> None:
        presses.append(number)
        if len(presses) > PATIENT_PRESSES:
            raise Impatient
        loop.call_soon_threadsafe(callback)

    if previous == signal.SIG_IGN:  # for example, in the background of a script
        yield presses
        return
    signal.signal(signal.SIGINT, pressed)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, previous)
