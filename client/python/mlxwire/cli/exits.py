"""End a command: each failure is one red line and an exit code, never a traceback.

With ``--json`` the failure goes to stdout too, as ``{"error": {…}}``.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import typer

from ..errors import HandshakeFailed, InvalidParams, MlxwireError, WorkerCrashed
from .terminal import print_json, say

FAILED = 1
USAGE = 2
NOT_STARTED = 3
INTERRUPTED = 130
PIPE_CLOSED = 141
"""The code that a shell shows for a program that SIGPIPE ended."""

TYPED = {
    "adapter_path": "--adapter",
    "data": "DATA",
    "messages": "MESSAGE",
    "name": "NAME",
    "out": "OUT",
    "path": "MODEL",
    "prompt": "PROMPT",
    "source": "SOURCE",
    "text": "TEXT",
}
"""The words that a user types for a field whose option is not named ``--field-name``."""

EPILOG = (
    f"Exit codes: 0 done, {FAILED} the request failed, {USAGE} wrong usage, {NOT_STARTED} the "
    f"worker could not start, {INTERRUPTED} interrupted, {PIPE_CLOSED} nobody reads the output."
)


class StartFailed(Exception):
    """The worker could not be started, because of ``error``."""

    def __init__(self, error: MlxwireError) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def exit_codes(
    *, json: bool = False, verbose: bool = False, options: Iterable[str] = ()
) -> Iterator[None]:
    """Convert the exceptions of a command to exit codes.

    ``options`` are fields that the command has as options, so that errors name all of them as typed.
    Raises: typer.Exit for everything but success.
    """
    try:
        try:
            yield
        except StartFailed as failed:
            report(failed.error, json=json)
            raise typer.Exit(NOT_STARTED) from None
        except MlxwireError as error:
            report(error, json=json, options=options)
            raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _give_up_stdout()
        raise typer.Exit(PIPE_CLOSED) from None
    except OSError as error:  # for example, stdout goes to a full disk
        _give_up_stdout()
        say_error(f"os_error: {error.strerror or error}")
        raise typer.Exit(FAILED) from None
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:
        _report_defect(error, verbose=verbose)


def report(error: MlxwireError, *, json: bool = False, options: Iterable[str] = ()) -> None:
    """Write an error as a line to stderr, and with ``json`` as an object to stdout."""
    say_error(in_words(error, options))
    if json:
        print_json({"error": error_fields(error)})


def in_words(error: MlxwireError, options: Iterable[str] = ()) -> str:
    """Return ``code: message``, and the last line of stderr if the worker has ended.

    An option is named as it was typed: ``--max-tokens`` for ``max_tokens``.
    """
    last_words = error.stderr_tail.strip().rpartition("\n")[2]
    told_by_stderr = WorkerCrashed | HandshakeFailed
    why = f" ({last_words})" if last_words and isinstance(error, told_by_stderr) else ""
    return f"{error.code}: {_as_typed(error, options)}{why}"


def _as_typed(error: MlxwireError, options: Iterable[str]) -> str:
    if error.field is None or not isinstance(error, InvalidParams):
        return error.message
    typed = {name: f"--{name.replace('_', '-')}" for name in options}
    if error.field not in typed:
        typed[error.field] = TYPED.get(error.field, f"--{error.field.replace('_', '-')}")
    message = error.message
    for field, word in typed.items():
        message = message.replace(f"`{field}`", f"`{word}`")
    return message


def say_error(words: str) -> None:
    """Write an error as one red line."""
    say(f"error: {' '.join(words.split())}", "red")


def error_fields(error: MlxwireError) -> Mapping[str, Any]:
    """Return the fields of an error for `--json`."""
    return {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
        "data": error.data,
    }


def _report_defect(error: Exception, *, verbose: bool) -> None:
    if verbose:
        say(traceback.format_exc())
    say_error(f"internal: {type(error).__name__}: {error} (--verbose shows where)")
    raise typer.Exit(FAILED) from None


def _give_up_stdout() -> None:
    """Send buffered output to a null device, or the interpreter would print an error."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
