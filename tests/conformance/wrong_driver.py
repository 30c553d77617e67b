"""`wrong_driver.py WRONGNESS --scenario NAME`: a driver with one thing wrong, to prove that the kit
sees it. It is the Python driver with one function of it, or of its client, replaced.
"""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import driver_python as driver
from driver_python import Model, Report
from tables import cells_python

from mlxwire.connection.connection import Connection
from mlxwire.process.process import WorkerProcess

Patch = Callable[[], object]


def _prints(change: Callable[[str], str]) -> Patch:
    """Return a driver that prints something else."""

    def patch() -> None:
        line = Report.line
        Report.line = lambda self: change(line(self))

    return patch


def _tells(**fields: object) -> Patch:
    """Return a driver that reports something else."""

    def patch() -> None:
        line = Report.line

        def changed(self: Report) -> str:
            for name, value in fields.items():
                if hasattr(self, name):
                    setattr(self, name, value)
                else:
                    self.more[name] = value
            return line(self)

        Report.line = changed

    return patch


def _tells_of_error(**fields: object) -> Patch:
    """Return a driver that reports the error otherwise."""

    def patch() -> None:
        describe = driver.describe
        driver.describe = lambda error, tokens: {**describe(error, tokens), **fields}

    return patch


def _operates(scenario: str, operation: driver.Operation) -> Patch:
    """Return a driver that does something else."""
    return lambda: driver.OPERATIONS.update({scenario: operation})


def _writes(change: Callable[[bytes], bytes]) -> Patch:
    """Return a driver that writes something else to the wire."""

    def patch() -> None:
        write = WorkerProcess.write
        WorkerProcess.write = lambda self, line: write(self, change(line))

    return patch


def _before(command: bytes, extra: bytes) -> Callable[[bytes], bytes]:
    return lambda line: (extra if b'"cmd":"%s"' % command in line else b"") + line


async def _reads_three(model: Model, report: Report) -> None:
    async with model.generate("again and again", max_tokens=3) as stream:
        await report.read(stream)


async def _other_options(model: Model, report: Report, **options: Any) -> None:
    async with model.generate(driver.PROMPT, **options) as stream:
        await report.read(stream)


async def _other_messages(model: Model, report: Report) -> None:
    async with model.chat("hello  there", max_tokens=8) as stream:
        await report.read(stream)
    report.text = "hello there"


async def _one_by_one(model: Model, report: Report) -> None:
    prompts = [f"prompt {place}" for place in range(8)]
    report.more["texts"] = [await model.generate(each).text() for each in prompts]


async def _hangs(*_: object) -> None:
    await asyncio.get_running_loop().create_future()


def _stays_in_memory() -> None:
    driver.HELD = b"x" * (100 << 20)


def _leaves_a_process() -> None:
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time; time.sleep(30)"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _just_leaves() -> None:
    async def close(self: Connection) -> None:
        await self.abort()

    Connection.close = close


def _exits_with_1() -> None:
    line = Report.line

    def fail(self: Report) -> str:
        print(line(self), flush=True)
        sys.exit(1)

    Report.line = fail


def _ends_quietly() -> None:
    cells_python.outcome_of = lambda _: {"outcome": "ok"}


def _answers_nothing() -> None:
    async def run_cells() -> None:
        sys.exit(1)

    driver.run_cells = run_cells


OK = {"outcome": "ok", "error": None}
ITEMS = [{"index": index, "token_id": 0} for index in range(3)]
WRONGNESSES: dict[str, Patch] = {
    "prints_nothing": _prints(lambda _: ""),
    "prints_twice": _prints(lambda line: f"{line}\n{line}"),
    "prints_no_json": _prints(lambda line: line[:-1]),
    "prints_a_list": _prints(lambda line: f"[{line}]"),
    "prints_another_name": _tells(scenario="other"),
    "prints_text_for_a_number": _tells(tokens="3"),
    "leaves_a_field_out": _prints(lambda line: line.replace('"closed_seconds"', '"x"')),
    "contradicts_itself": _tells(outcome="error"),
    "exits_with_1": _exits_with_1,
    "hangs": _operates("generate", _hangs),
    "leaves_a_process": _leaves_a_process,
    "holds_memory": _stays_in_memory,
    "untyped_error": _tells_of_error(code="untyped"),
    "retryable_lies": _tells_of_error(retryable=True),
    "error_without_words": _tells_of_error(message=" "),
    "error_without_count": _tells_of_error(tokens_delivered=None),
    "another_error": _tells_of_error(code="internal"),
    "forgets_what_it_delivered": _tells_of_error(tokens_delivered=0),
    "sees_no_error": _tells(**OK),
    "sees_an_error": _tells(
        outcome="error",
        error={"code": "timeout", "retryable": False, "message": "x", "tokens_delivered": 0},
    ),
    "loses_text": _tells(text="one two"),
    "loses_a_token": _tells(tokens=2),
    "ends_otherwise": _tells(finish_reason="length"),
    "another_pid": _tells(worker_pid=1),
    "next_fails": _tells(next={"outcome": "error", "text": "", "error": None}),
    "no_next": _tells(next=None),
    "takes_too_long": _tells(seconds=60.0),
    "closes_slowly": _tells(closed_seconds=9.0),
    "reads_to_the_end": _operates("cancel", _reads_three),
    "no_deadline": _operates(
        "deadline", functools.partial(_other_options, max_tokens=1, temperature=-1)
    ),
    "other_messages": _operates("chat", _other_messages),
    "one_by_one": _operates("together", _one_by_one),
    "wrong_texts": _tells(texts=[]),
    "wrong_length": _tells(texts_equal_length=False),
    "wrong_items": _tells(items=ITEMS),
    "wrong_info": _tells(info={"model_type": "mock"}),
    "no_info": _tells(info=None),
    "wrong_field": _tells(field="top_k"),
    "asks_too_much": _operates("idle", driver.generate),
    "no_json_on_the_wire": _writes(_before(b"load", b"hi\n")),
    "unknown_option": _operates("generate", functools.partial(_other_options, colour=1)),
    "speaks_before_hello": _writes(_before(b"hello", b'{"id":"x","cmd":"info"}\n')),
    "says_no_goodbye": _just_leaves,
    "says_an_id_twice": _writes(_before(b"quit", b'{"id":"r1","cmd":"metrics"}\n')),
    "ends_quietly": _ends_quietly,
    "answers_nothing": _answers_nothing,
    "expects_no_answer": _writes(_before(b"quit", b'{"cmd":"info"}\n')),
}

if __name__ == "__main__":
    WRONGNESSES[sys.argv.pop(1)]()
    driver.main()
