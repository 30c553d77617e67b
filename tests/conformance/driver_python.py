"""The driver of DRIVER.md over the Python client: `--scenario NAME`, or `--cells`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from tables.cells_python import run_cells

import mlxwire
from mlxwire import Model, ShutdownLimits, TokenStream, Worker

MODEL = os.environ.get("MLXWIRE_MODEL", "mock")
MANY = 100_000
PROMPT = "one two three"
FAULT_SHUTDOWN = ShutdownLimits(quit=0.3, close_stdin=0.3, terminate=0.3, kill=0.5)
FAULT_START_SECONDS = 5.0
FAULT_REQUEST_SECONDS = 3.0


@dataclass
class Report:
    """The line that is printed; ``more`` are the scenario's own fields."""

    scenario: str
    outcome: str = "ok"
    error: dict[str, Any] | None = None
    text: str = ""
    tokens: int = 0
    finish_reason: str | None = None
    seconds: float = 0.0
    closed_seconds: float = 0.0
    worker_pid: int | None = None
    next: dict[str, Any] | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        fields = asdict(self)
        fields.update(fields.pop("more"))
        return json.dumps(fields, ensure_ascii=False)

    def failed(self, error: BaseException) -> None:
        self.outcome = "error"
        self.error = describe(error, self.tokens)
        if isinstance(error, mlxwire.InvalidParams):
            self.more["field"] = error.field

    async def read(self, stream: TokenStream, at_most: int | None = None) -> None:
        """Take a stream's tokens, or its first ones."""
        pieces: list[str] = []
        try:
            async for token in stream:
                pieces.append(token.text)
                self.tokens += 1
                if self.tokens == at_most:
                    return
            self.finish_reason = stream.done.finish_reason
        finally:
            self.text += "".join(pieces)


def describe(error: BaseException, tokens: int) -> dict[str, Any]:
    """Return an error in the report's form."""
    told = {"retryable": False, "message": str(error), "tokens_delivered": tokens}
    if isinstance(error, mlxwire.MlxwireError):
        told["tokens_delivered"] = error.tokens_delivered
        return {**told, "code": error.code, "retryable": error.retryable}
    if isinstance(error, asyncio.CancelledError):
        return {**told, "code": "cancelled", "message": "the task was cancelled"}
    return {**told, "code": "untyped", "message": f"{type(error).__name__}: {error}"}


Operation = Callable[[Model, Report], Awaitable[None]]


async def generate(model: Model, report: Report) -> None:
    async with model.generate(PROMPT, max_tokens=8) as stream:
        await report.read(stream)


async def chat(model: Model, report: Report) -> None:
    messages = [{"role": "user", "content": "hello there"}]
    async with model.chat(messages, max_tokens=8) as stream:
        await report.read(stream)


async def cancel(model: Model, report: Report) -> None:
    async with model.generate(PROMPT, max_tokens=MANY, ignore_eos=True) as stream:
        await report.read(stream, at_most=3)


async def abort(model: Model, report: Report) -> None:
    async def consume() -> None:
        async with model.generate(PROMPT, max_tokens=MANY, ignore_eos=True) as stream:
            await report.read(stream, at_most=3)
            three_taken.set()
            await asyncio.get_running_loop().create_future()  # until it is cancelled

    three_taken = asyncio.Event()
    task = asyncio.create_task(consume())
    await three_taken.wait()
    task.cancel()
    await task


async def deadline(model: Model, report: Report) -> None:
    stream = model.generate(PROMPT, max_tokens=MANY, ignore_eos=True, deadline_seconds=0.3)
    async with stream:
        await report.read(stream)


async def together(model: Model, report: Report) -> None:
    streams = [model.generate(f"prompt {place}", max_tokens=16) for place in range(8)]
    texts = await asyncio.gather(*(stream.text() for stream in streams))
    report.more["texts"] = texts


async def sleeper(model: Model, report: Report) -> None:
    length = 20_000
    async with model.generate(PROMPT, max_tokens=length, ignore_eos=True) as stream:
        await report.read(stream, at_most=1)
        await model.generate("another", max_tokens=2000, ignore_eos=True).text()
        await report.read(stream)
    report.more["texts_equal_length"] = report.tokens == length


async def classify(model: Model, report: Report) -> None:
    results = await model.classify(["a", "b", "c"])
    report.more["items"] = [
        {"index": result.index, "token_id": result.token_id} for result in results
    ]


async def batch(model: Model, report: Report) -> None:
    async with model.batch(["a", "b", "c"], max_tokens=4) as stream:
        results = sorted([each async for each in stream], key=lambda each: each.index)
    report.more["items"] = [
        {"index": each.index, "text": each.text, "finish_reason": each.finish_reason}
        for each in results
    ]


async def info(model: Model, report: Report) -> None:
    told = model.loaded
    report.more["info"] = {name: getattr(told, name) for name in told.__struct_fields__}


async def bad_option(model: Model, report: Report) -> None:
    async with model.generate(PROMPT, temperature=-1) as stream:
        await report.read(stream)


async def no_model(model: Model, report: Report) -> None:
    await model.close()  # this client has nothing to ask with before a load
    await generate(model, report)


async def overlong(model: Model, report: Report) -> None:
    async with model.generate("x" * (16 << 20), max_tokens=8) as stream:
        await report.read(stream)


async def idle(model: Model, report: Report) -> None:
    """Ask for nothing."""


OPERATIONS: dict[str, Operation] = {
    each.__name__: each
    for each in (
        *(generate, chat, cancel, abort, deadline, together, sleeper),
        *(classify, batch, info, bad_option, no_model, overlong, idle),
    )
}
WITH_NEXT = {"cancel", "abort", "deadline", "overlong"}


async def run(scenario: str) -> Report:
    """Run one scenario; return its report, whatever happens."""
    report = Report(scenario)
    if scenario == "fault":
        await run_fault(report)
        return report

    async def operate(worker: Worker) -> None:
        model = await worker.load(MODEL)
        await measured(OPERATIONS[scenario], model, report)
        if scenario in WITH_NEXT:
            report.next = await following(model, "again", max_tokens=4)

    await serve(Worker(), operate, report)
    return report


async def run_fault(report: Report) -> None:
    """Use a worker that goes wrong, and a good one after it."""

    async def operate(worker: Worker) -> None:
        model = await worker.load(MODEL, timeout=FAULT_REQUEST_SECONDS)
        await measured(generate, model, report)

    async def operate_fresh(worker: Worker) -> None:
        report.next = await following(await worker.load(MODEL), PROMPT, max_tokens=8)

    await serve(fault_worker(), operate, report)
    fresh = Report("fault")
    await serve(fault_worker(os.environ["MLXWIRE_FRESH_WORKER"]), operate_fresh, fresh)
    if fresh.error is not None:
        report.next = {"outcome": "error", "text": "", "error": fresh.error}


def fault_worker(command: str | None = None) -> Worker:
    return Worker(
        command,
        start_timeout=FAULT_START_SECONDS,
        idle_timeout=FAULT_REQUEST_SECONDS,
        shutdown=FAULT_SHUTDOWN,
    )


async def measured(operation: Operation, model: Model, report: Report) -> None:
    """Run the scenario's operation; put its duration and its outcome into the report."""
    began = time.monotonic()
    try:
        await operation(model, report)
    except BaseException as error:  # also the cancellation that `abort` is about
        report.failed(error)
    report.seconds = time.monotonic() - began


async def serve(
    worker: Worker, operate: Callable[[Worker], Awaitable[None]], report: Report
) -> None:
    """Start a worker and close it, whatever happens; put other failures into the report."""
    try:
        await worker.start()
        await operate(worker)
    except Exception as error:
        report.failed(error)
    report.worker_pid = worker.pid
    began = time.monotonic()
    await worker.close()
    report.closed_seconds = time.monotonic() - began


async def following(model: Model, prompt: str, *, max_tokens: int) -> dict[str, Any]:
    """Send the request after the scenario's own; return its outcome."""
    try:
        text = await model.generate(prompt, max_tokens=max_tokens).text()
    except mlxwire.MlxwireError as error:
        return {"outcome": "error", "text": "", "error": describe(error, 0)}
    return {"outcome": "ok", "text": text, "error": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--scenario", choices=[*OPERATIONS, "fault"])
    asked.add_argument("--cells", action="store_true")
    options = parser.parse_args()
    if options.cells:
        asyncio.run(run_cells())
        return
    report = asyncio.run(run(options.scenario))
    sys.stdout.write(report.line() + "\n")


if __name__ == "__main__":
    main()
