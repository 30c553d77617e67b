"""The cases for a worker: every transcript, and the framing vectors on its stdin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import orjson
from jsonschema import ValidationError

from mlxwire_protocol import WireError
from mlxwire_protocol.framing import DEFAULT_MAX_LINE_BYTES, Line, Overlong
from protocol.framing_vectors import FramingVector, load_vectors

from .cases import Case, Failure
from .process_host import ProcessHost
from .transcript import Mismatch, Transcript, WrongExit, follow, load_transcripts

HELLO = b'{"id":"hello","cmd":"hello","protocols":[1]}\n'
LONG = 4096
"""Above it a stream is not cut at every byte, but at a few places."""


def worker_cases(command: Sequence[str]) -> list[Case]:
    """Return all cases for one worker; ``command`` starts it with its mock engine."""
    return [
        *(
            Case(f"transcript/{each.name}", partial(_follow, command, each))
            for each in load_transcripts()
        ),
        *(
            Case(f"framing/{each.name.replace(' ', '_')}", partial(_split, command, each))
            for each in load_vectors()
        ),
    ]


def _follow(command: Sequence[str], transcript: Transcript) -> Iterator[Failure]:
    try:
        with ProcessHost([*command, *transcript.worker_arguments]) as host:
            follow(transcript, host)
    except WrongExit as error:
        yield Failure("exit", str(error))
    except Mismatch as error:
        yield Failure("dialogue", str(error))
    except ValidationError as error:
        yield Failure("schema", f"{error.message} in {error.instance}")
    except orjson.JSONDecodeError as error:
        yield Failure("lines", f"it wrote {error.doc[:100]!r}: {error}")
    except WireError as error:
        yield Failure("replies", error.message)
    except AssertionError as error:
        yield Failure("silence", str(error))


def _split(command: Sequence[str], vector: FramingVector) -> Iterator[Failure]:
    """Check that each line of a vector gets its error, whole, cut in two and byte by byte."""
    lines = [*vector.lines, *([] if vector.end is None else [vector.end])]
    limited = vector.max_line_bytes < DEFAULT_MAX_LINE_BYTES
    options = ["--max-line-bytes", str(vector.max_line_bytes)] if limited else []
    # Where the limit leaves no room for hello, the answers are dialect 0's, without codes.
    greeted = vector.max_line_bytes >= len(HELLO)
    due = [_code_of(line) if greeted else "error" for line in lines]
    for chunks in _cuts(vector.stream):
        with ProcessHost([*command, *options]) as host:
            if greeted:
                host.write(HELLO)
                host.read_line()
            for chunk in chunks:
                host.write(chunk)
                host.wait_until_read()
            host.close_input()
            answers = [_answer(line) for line in iter(host.read_line, None)]
        if answers != due:
            sizes = [len(chunk) for chunk in chunks][:5]
            yield Failure("framing", f"in chunks of {sizes}…: {answers}, where {due} was due")


def _answer(line: bytes) -> str:
    """Return an error's code, or the word "error" for an error without one."""
    error = orjson.loads(line).get("error")
    if isinstance(error, dict):
        return str(error.get("code"))
    return "error" if isinstance(error, str) else f"no error: {line[:100]!r}"


def _cuts(stream: bytes) -> Iterator[list[bytes]]:
    yield [stream]
    yield [stream[: len(stream) // 2], stream[len(stream) // 2 :]]
    if len(stream) <= LONG:
        yield [stream[place : place + 1] for place in range(len(stream))]


def _code_of(line: Line) -> str:
    """Return the code of the error that a line which is no request must get."""
    if isinstance(line, Overlong):
        return "message_too_large"
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return "parse_error"
    return "invalid_request"
