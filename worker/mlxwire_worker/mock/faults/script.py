"""The types of a fault script: a list of faults, each with the message that triggers it.

`testdata/faults/README.md` documents the kinds and their fields. A script with an unknown kind,
field or phase is refused at the start, so that no script tests less than it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from mlxwire_protocol.dialect0.translation import FIELDS as DIALECT0_FIELDS

Phase = Literal["start", "load", "request", "cancel", "credit", "end"]
CHUNK_BYTES = 1 << 16


class Part(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Bytes that JSON can't hold: ``hex`` digits, then the text ``repeat``, ``times`` times."""

    hex: str = ""
    repeat: str = ""
    times: int = 1

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in chunks of about 64 KiB."""
        yield bytes.fromhex(self.hex)
        piece = self.repeat.encode()
        at_once = max(1, CHUNK_BYTES // max(1, len(piece)))
        for done in range(0, self.times, at_once):
            yield piece * min(at_once, self.times - done)


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """A fault and the message that triggers it: the ``nth`` that matches all other fields.

    ``phase``, ``command`` and ``id`` are compared with the request that the message is or answers,
    ``type`` with the reply. None matches any.
    """

    phase: Phase
    command: str | None = None
    id: str | None = None
    type: str | None = None
    nth: int = 1


class ProcessFault(Fault):
    """A fault of the process, applied just before its message is written.

    In phase `start` or `end` without ``command`` and ``type`` it is applied at the start.
    """


class Silent(ProcessFault, tag="silent"):
    """Writes nothing from now on; requests are still read."""


class Stall(ProcessFault, tag="stall"):
    """Blocks the whole worker for ``seconds``."""

    seconds: float


class Exit(ProcessFault, tag="exit"):
    """Exits with ``code`` once ``after_bytes`` bytes of the message are written."""

    code: int = 1
    after_bytes: int = 0


class Crash(ProcessFault, tag="crash"):
    """Ends the process with ``signal`` after ``after_bytes`` bytes of the message."""

    signal: Literal["SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM"] = "SIGKILL"
    after_bytes: int = 0


class Write(ProcessFault, tag="write"):
    """Writes bytes to stdout that belong to no message."""

    parts: list[str | Part]

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in chunks."""
        for part in self.parts:
            yield from [part.encode()] if isinstance(part, str) else part.chunks()


class Stderr(ProcessFault, tag="stderr"):
    """Writes ``bytes`` bytes to stderr, in lines of ``line_bytes``; 0 means without a newline."""

    bytes: int
    line_bytes: int = 0


class Grandchild(ProcessFault, tag="grandchild"):
    """Spawns a child that holds the worker's three pipes for ``seconds``.

    With ``own_session`` the child is outside the worker's process group.
    """

    seconds: float
    own_session: bool = False


class Close(ProcessFault, tag="close"):
    """Closes a pipe and keeps the process running."""

    pipe: Literal["stdin", "stdout"]


class Deaf(ProcessFault, tag="deaf"):
    """Reads nothing from now on and does not notice the end of stdin."""


class IgnoreEof(ProcessFault, tag="ignore_eof"):
    """Keeps running when stdin ends."""


class IgnoreSigterm(ProcessFault, tag="ignore_sigterm"):
    """Keeps running after a SIGTERM."""


class Split(ProcessFault, tag="split"):
    """Splits the next ``messages`` messages (None: all) into writes of the ``sizes`` in turn.

    With ``up_to`` the sizes are random, from the script's seed. After each write the worker pauses
    for ``pause`` seconds.
    """

    sizes: list[int] = []
    up_to: int = 0
    pause: float = 0.0
    messages: int | None = None

    def __post_init__(self) -> None:
        if bool(self.sizes) == bool(self.up_to) or min([1, *self.sizes]) < 1:
            raise ValueError(
                "`split` needs either `sizes`, each at least 1, or `up_to`; give one of the two"
            )


class LineEnd(ProcessFault, tag="line_end"):
    """Ends lines with ``text`` instead of a line feed, from this message on."""

    text: str


class Change(Fault, tag="change"):
    """Sets and removes fields of the message."""

    set: dict[str, Any] = {}
    remove: list[str] = []


class Rewrite(Fault, tag="rewrite"):
    """Replaces the first ``old`` in the message's bytes with ``new``."""

    old: str
    new: str | Part


class Pad(Fault, tag="pad"):
    """Makes the line ``over`` bytes longer than `max_line_bytes`, with an unknown field."""

    over: int


class Drop(Fault, tag="drop"):
    """Does not write the message."""


class Repeat(Fault, tag="repeat"):
    """Writes the message again, ``times`` more times."""

    times: int = 1


class Insert(Fault, tag="insert"):
    """Writes another message before or ``after`` the message, ``times`` times.

    A value ``$id`` in it becomes the message's id, ``$seq`` the `seq` of the next token.
    """

    message: dict[str, Any]
    after: bool = False
    times: int = 1


class Burst(Fault, tag="burst"):
    """Writes ``tokens`` tokens just before the message."""

    tokens: int


class Ignore(Fault, tag="ignore"):
    """Ignores the request."""


class Late(Fault, tag="late"):
    """Delays the request by ``seconds``."""

    seconds: float


class Unended(Fault, tag="unended"):
    """Answers the cancel, and drops the final of its target."""


class Race(Fault, tag="race"):
    """Lets the cancel's target end by itself before the cancel is answered."""


HeardFault = Ignore | Late | Unended | Race
ReplyFault = (
    Silent | Stall | Exit | Crash | Write | Stderr | Grandchild | Close | Deaf
    | IgnoreEof | IgnoreSigterm | Split | LineEnd
    | Change | Rewrite | Pad | Drop | Repeat | Insert | Burst
)  # fmt: skip


def names_no_message(fault: Fault) -> bool:
    """Return True for a fault to apply at the start of the process.

    Faults of phase `end` without a message are among them: a worker that shall ignore the end
    of stdin must know it before stdin ends.
    """
    return (
        isinstance(fault, ProcessFault)
        and fault.phase in ("start", "end")
        and fault.command is None
        and fault.type is None
    )


class FaultScript(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One script file. The worker ignores ``about`` and ``expect``, which tests of clients use."""

    faults: list[HeardFault | ReplyFault]
    seed: int = 0
    about: str = ""
    expect: dict[str, Any] = {}


def load_script(path: str) -> FaultScript:
    """Read a script file. Raises: ValueError with the path and the reason."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=FaultScript)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: {error}") from None


_DIALECT0_TYPES = frozenset({None, "token", "done", "result", "error"})


def unfit_for_dialect0(script: FaultScript) -> str | None:
    """Return the reason why a fault can't strike in a dialogue without ids; None if all can."""
    for place, fault in enumerate(script.faults):
        named = f"faults[{place}], a `{fault.__struct_config__.tag}`"
        if fault.id is not None:
            return f"{named}, has an `id`, but requests of dialect 0 have none; leave it out"
        if fault.command not in {None, *DIALECT0_FIELDS} or fault.phase == "credit":
            return f"{named}, waits for a command that dialect 0 does not have; speak dialect 1"
        if fault.phase == "start" and not names_no_message(fault):
            return (
                f"{named}, waits for a `hello`, which dialect 0 does not have; speak dialect 1"
            )
        if fault.type not in _DIALECT0_TYPES:
            return f"{named}, waits for a `{fault.type}`, which dialect 0 does not have; speak dialect 1"
        if fault.phase in ("cancel", "end") and not (
            isinstance(fault, HeardFault) or names_no_message(fault)
        ):
            return (
                f"{named}, waits for the reply to a `cancel` or `quit`; dialect 0 answers neither. "
                "Speak dialect 1"
            )
        if isinstance(fault, Race):
            return f"{named}, delays a cancel's answer, which dialect 0 does not have; take `ignore`"
        if isinstance(fault, Insert) and {"$id", "$seq"} & {
            value for value in fault.message.values() if isinstance(value, str)
        }:
            return f"{named}, writes a message with an id; write one without `$id` and `$seq`"
    return None
