"""Transcripts: parsing, pattern matching, and following one against anything that talks.

The format is described in README.md.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson
from jsonschema import Draft202012Validator

from mlxwire_protocol.request_state import RequestState
from mlxwire_protocol.schema import protocol_schema
from support.repository import TESTDATA

FOLDER = TESTDATA / "transcripts"
_REPEAT = re.compile(r"\$repeat\((.),(\d+)\)")
_SCHEMA = Draft202012Validator({**protocol_schema(), "anyOf": [{"$ref": "#/$defs/reply"}]})
_TYPES: dict[str, type | tuple[type, ...]] = {
    "$string": str,
    "$number": (int, float),
    "$bool": bool,
    "$object": dict,
    "$array": list,
    "$any": object,
}

Kind = Literal["write", "expect", "expect_any_number", "expect_next", "eof", "exit"]


class Mismatch(AssertionError):
    """The other side did not follow the transcript."""


class WrongExit(Mismatch):
    """The other side followed to its end, and exited with another code."""


@dataclass(frozen=True)
class Step:
    """One line of a transcript: bytes to write, a pattern to meet, or an exit code."""

    kind: Kind
    place: str
    payload: bytes = b""
    pattern: Any = None
    code: int = 0


@dataclass(frozen=True)
class Transcript:
    """A dialogue, what the worker is started with, and whether it needs a live process."""

    name: str
    steps: list[Step]
    worker_arguments: list[str]
    needs_process: bool

    @property
    def stream(self) -> bytes:
        """Return all that the host writes."""
        return b"".join(step.payload for step in self.steps)


class Peer(Protocol):
    """The worker's side of a transcript."""

    def write(self, payload: bytes) -> None:
        """Give bytes to the worker."""

    def close_input(self) -> None:
        """End the bytes to the worker."""

    def read_line(self) -> bytes | None:
        """Return the worker's next line, or None at the end of its output."""

    def exit_code(self) -> int:
        """Return the worker's exit code."""


def load_transcripts() -> list[Transcript]:
    """Read every transcript, by name."""
    return [parse(path.stem, path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.txt"))]


def parse(name: str, text: str) -> Transcript:
    """Return a transcript from its text. Raises ValueError with the line that is wrong."""
    steps: list[Step] = []
    arguments: list[str] = []
    needs_process = False
    for number, line in enumerate(text.split("\n"), start=1):
        place = f"{name}.txt:{number}"
        mark, _, rest = line.partition(" ")
        match mark:
            case "" | "#":
                if line.strip(" ") and mark != "#":
                    raise ValueError(f"{place}: begins with a space")
            case ">":
                said = _REPEAT.sub(lambda found: found[1] * int(found[2]), rest)
                steps.append(Step("write", place, payload=said.encode() + b"\n"))
            case ">hex":
                steps.append(Step("write", place, payload=bytes.fromhex(rest)))
            case "<" | "<*" | "<!":
                kinds: dict[str, Kind] = {
                    "<": "expect", "<*": "expect_any_number", "<!": "expect_next"
                }  # fmt: skip
                steps.append(Step(kinds[mark], place, pattern=json.loads(rest)))
            case "!":
                words = rest.split()
                if words[0] == "worker":
                    arguments = words[1:]
                elif words == ["process"]:
                    needs_process = True
                elif words == ["eof"]:
                    steps.append(Step("eof", place))
                elif words[0] == "exit":
                    steps.append(Step("exit", place, code=int(words[1])))
                else:
                    raise ValueError(f"{place}: {line!r}")
            case _:
                raise ValueError(f"{place}: {line!r}")
    if not steps or steps[-1].kind != "exit":
        raise ValueError(f"{name}: the last line must be `! exit N`")
    return Transcript(name, steps, arguments, needs_process)


def fits(pattern: Any, value: Any) -> bool:
    """Return True if a value is one that the pattern allows."""
    if isinstance(pattern, str) and pattern.startswith("$prefix:"):
        return isinstance(value, str) and value.startswith(pattern.removeprefix("$prefix:"))
    if isinstance(pattern, str) and pattern in _TYPES:
        if isinstance(value, bool):
            return pattern in ("$bool", "$any")
        return isinstance(value, _TYPES[pattern])
    if isinstance(pattern, dict):
        if not isinstance(value, dict):
            return False
        wanted = pattern.keys() - {"..."}
        if not (wanted <= value.keys() and ("..." in pattern or wanted == value.keys())):
            return False
        return all(fits(pattern[name], value[name]) for name in wanted)
    if isinstance(pattern, list):
        return (
            isinstance(value, list)
            and len(value) == len(pattern)
            and all(map(fits, pattern, value))
        )
    return type(pattern) is type(value) and bool(pattern == value)


def follow(transcript: Transcript, peer: Peer) -> None:
    """Play the host's part. Raises Mismatch where the worker's is not as written."""
    _Follower(peer).follow(transcript)


class _Follower:
    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._untaken: dict[Any, deque[dict[str, Any]]] = {}
        self._requests: dict[str, RequestState] = {}
        self._checked_tokens = 0

    def follow(self, transcript: Transcript) -> None:
        for step in transcript.steps:
            match step.kind:
                case "write":
                    self._peer.write(step.payload)
                case "eof":
                    self._peer.close_input()
                case "exit":
                    self._end(step)
                case "expect_any_number":
                    while self._take_if_fits(step):
                        pass
                case "expect" | "expect_next":
                    if not self._take_if_fits(step):
                        came = self._next_of(step.pattern.get("id", _BARE))
                        raise Mismatch(f"{step.place}: wanted {step.pattern}, came {came}")
                    if step.kind == "expect_next" and any(self._untaken.values()):
                        raise Mismatch(f"{step.place}: before it came {self._left()}")

    def _take_if_fits(self, step: Step) -> bool:
        """Take the next line of the pattern's id if it fits; progress that does not is skipped."""
        own = step.pattern.get("id", _BARE)
        while (message := self._next_of(own)) is not None:
            if fits(step.pattern, message):
                self._untaken[own].popleft()
                return True
            if message.get("type") != "progress":
                return False
            self._untaken[own].popleft()
        return False

    def _next_of(self, own: Any) -> dict[str, Any] | None:
        """Return the oldest untaken line with that id, or None at the end of the output."""
        while not self._untaken.get(own):
            if not self._read():
                return None
        return self._untaken[own][0]

    def _read(self) -> bool:
        line = self._peer.read_line()
        if line is None:
            return False
        message = orjson.loads(line)
        if "type" in message:
            self._check(message)
        self._untaken.setdefault(message.get("id", _BARE), deque()).append(message)
        return True

    def _check(self, message: dict[str, Any]) -> None:
        """Check the rules for every reply of dialect 1."""
        if message["type"] != "token" or self._checked_tokens < 20:  # a flood of them is alike
            self._checked_tokens += message["type"] == "token"
            _SCHEMA.validate(message)
        request_id = message["id"]
        duplicate = message["type"] == "error" and message["error"]["code"] == "duplicate_id"
        if request_id is None or duplicate:
            return
        state = self._requests.setdefault(request_id, RequestState(request_id))
        state.advance(message["type"], message)

    def _end(self, step: Step) -> None:
        while self._read():
            pass
        if left := self._left():
            raise Mismatch(f"{step.place}: left over is {left}")
        if (code := self._peer.exit_code()) != step.code:
            raise WrongExit(f"{step.place}: the exit code is {code}")

    def _left(self) -> list[dict[str, Any]]:
        left = [message for lines in self._untaken.values() for message in lines]
        return [message for message in left if message.get("type") != "progress"]


_BARE = object()
"""Stands for the id of lines that have none."""
