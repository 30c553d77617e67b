"""A fault script: a list of faults, each with the message that it waits for.

The kinds and their fields are documented in `testdata/faults/README.md`. An unknown kind, field
or phase is refused at the start, so that no script tests less than it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

Phase = Literal["start", "load", "request", "cancel", "credit", "end"]
CHUNK_BYTES = 1 << 16


class Part(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Bytes that JSON can't spell, or many of them: ``hex``, or ``repeat`` so many ``times``."""

    hex: str = ""
    repeat: str = ""
    times: int = 1

    def chunks(self) -> Iterator[bytes]:
        """The bytes, in pieces that no memory minds."""
        yield bytes.fromhex(self.hex)
        piece = self.repeat.encode()
        at_once = max(1, CHUNK_BYTES // max(1, len(piece)))
        for done in range(0, self.times, at_once):
            yield piece * min(at_once, self.times - done)


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """The message that a fault waits for: the ``nth`` that all the other fields fit.

    ``phase`` is that of the request it belongs to; ``command`` and ``id`` are that request's, and
    ``type`` the reply's.
    """

    phase: Phase
    command: str | None = None
    id: str | None = None
    type: str | None = None
    nth: int = 1


class ProcessFault(Fault):
    """Befalls the process just before its message; in phase `start` without a command, at once."""


class Silent(ProcessFault, tag="silent"):
    """Nothing is written any more; what comes is still heard."""


class Stall(ProcessFault, tag="stall"):
    """All stands still for so long."""

    seconds: float


class Exit(ProcessFault, tag="exit"):
    """Exits, once ``after_bytes`` of the message are written."""

    code: int = 1
    after_bytes: int = 0


class Crash(ProcessFault, tag="crash"):
    """Dies of a signal, once ``after_bytes`` of the message are written."""

    signal: Literal["SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM"] = "SIGKILL"
    after_bytes: int = 0


class Write(ProcessFault, tag="write"):
    """Bytes on stdout that belong to no message."""

    parts: list[str | Part]

    def chunks(self) -> Iterator[bytes]:
        """The bytes."""
        for part in self.parts:
            yield from [part.encode()] if isinstance(part, str) else part.chunks()


class Stderr(ProcessFault, tag="stderr"):
    """So many bytes on stderr, in lines of ``line_bytes``; 0 is one endless line."""

    bytes: int
    line_bytes: int = 0


class Grandchild(ProcessFault, tag="grandchild"):
    """A child of the worker holds all its pipes for so long, in a session of its own or not."""

    seconds: float
    own_session: bool = False


class Close(ProcessFault, tag="close"):
    """Closes a pipe and lives on."""

    pipe: Literal["stdin", "stdout"]


class Deaf(ProcessFault, tag="deaf"):
    """Nothing is read any more, and the end of stdin is not noticed."""


class IgnoreEof(ProcessFault, tag="ignore_eof"):
    """Lives on when stdin ends."""


class IgnoreSigterm(ProcessFault, tag="ignore_sigterm"):
    """Lives on at SIGTERM."""


class Split(ProcessFault, tag="split"):
    """From its message on, ``messages`` of them, each write has a size of ``sizes`` in turn.

    With ``up_to`` the sizes are drawn from the script's seed. ``pause`` seconds lie between two.
    """

    sizes: list[int] = []
    up_to: int = 0
    pause: float = 0.0
    messages: int | None = None

    def __post_init__(self) -> None:
        if bool(self.sizes) == bool(self.up_to) or min([1, *self.sizes]) < 1:
            raise ValueError("`split` needs `sizes` of at least 1, or `up_to`")


class LineEnd(ProcessFault, tag="line_end"):
    """From its message on, lines end in ``text`` instead of a line feed."""

    text: str


class Change(Fault, tag="change"):
    """Sets and removes fields of the message."""

    set: dict[str, Any] = {}
    remove: list[str] = []


class Rewrite(Fault, tag="rewrite"):
    """Puts ``new`` in place of ``old`` in the message's bytes."""

    old: str
    new: str | Part


class Pad(Fault, tag="pad"):
    """Makes the line ``over`` bytes longer than `max_line_bytes`, by a field of no meaning."""

    over: int


class Drop(Fault, tag="drop"):
    """Leaves the message out."""


class Repeat(Fault, tag="repeat"):
    """Writes the message once more, ``times`` times."""

    times: int = 1


class Insert(Fault, tag="insert"):
    """Writes another message beside it; ``$id`` and ``$seq`` stand for what would be next."""

    message: dict[str, Any]
    after: bool = False
    times: int = 1


class Burst(Fault, tag="burst"):
    """So many tokens just before the message, whatever was asked for."""

    tokens: int


class Ignore(Fault, tag="ignore"):
    """The request is not heard."""


class Late(Fault, tag="late"):
    """The request is heard so much later."""

    seconds: float


class Unended(Fault, tag="unended"):
    """The cancel is answered, and its target gets no final."""


class Race(Fault, tag="race"):
    """The cancel's target ends by itself before the cancel is answered."""


HeardFault = Ignore | Late | Unended | Race
ReplyFault = (
    Silent | Stall | Exit | Crash | Write | Stderr | Grandchild | Close | Deaf
    | IgnoreEof | IgnoreSigterm | Split | LineEnd
    | Change | Rewrite | Pad | Drop | Repeat | Insert | Burst
)  # fmt: skip


class FaultScript(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One file. ``about`` and ``expect`` are for those who judge a client by it."""

    faults: list[HeardFault | ReplyFault]
    seed: int = 0
    about: str = ""
    expect: dict[str, Any] = {}


def load_script(path: str) -> FaultScript:
    """Read a script. Raises: ValueError that says what is wrong, and where."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=FaultScript)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: {error}") from None
