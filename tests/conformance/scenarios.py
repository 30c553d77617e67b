"""The outcome of each scenario of DRIVER.md, with a good worker and a proxy in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from .cases import Case, Failure
from .dialogue import Dialogue, check_dialogue
from .driver import LIMIT_SECONDS, WORKER, run_driver
from .judging import check_error, check_run, read_result

Result = dict[str, Any]
Check = Callable[[Result, Dialogue], Iterator[Failure]]
"""Judges a result by itself, or beside what went over the wire."""
NEXT_TEXT = "again"
SLEEPER_TOKENS = 20000
NOT_OF_THE_MODEL = {"id", "type", "final", "ok", "load_seconds", "warnings"}
"""The fields of a load's result that do not describe the model."""
SLOW = ("--mock-step-seconds", "0.002")
SLOWER = ("--mock-step-seconds", "0.1")


class Scenario(NamedTuple):
    """``error`` is the code that it has to end with; ``next`` whether another request follows.

    ``excused`` is a check of the wire that does not hold here.
    """

    check: Check
    error: str | None = None
    next: bool = False
    next_text: str = NEXT_TEXT
    worker: Sequence[str] = ()
    excused: str | None = None


def scenario_cases(driver: Sequence[str], limit: float = LIMIT_SECONDS) -> list[Case]:
    """Return all scenarios against a good worker."""
    return [
        Case(f"scenario/{name}", partial(_run, driver, name, scenario, limit))
        for name, scenario in SCENARIOS.items()
    ]


def _run(
    driver: Sequence[str], name: str, scenario: Scenario, limit: float
) -> Iterator[Failure]:
    worker = [*WORKER, *scenario.worker]
    run = run_driver(driver, name, worker, limit=limit, recorded=True)
    yield from check_run(run, limit=limit)
    result = read_result(run, name)
    if isinstance(result, Failure):
        yield result
        return
    dialogue = Dialogue(run.record)
    yield from (each for each in check_dialogue(dialogue) if each.check != scenario.excused)
    if result["worker_pid"] != dialogue.pid:
        yield Failure("pid", f"{result['worker_pid']} is not the worker's, {dialogue.pid}")
    yield from check_outcome(result, scenario.error)
    if scenario.next:
        yield from check_next(result, scenario.next_text)
    yield from scenario.check(result, dialogue)


def check_outcome(result: Result, code: str | None) -> Iterator[Failure]:
    """Check that a scenario ended as it had to: well, or with that error."""
    error = result["error"]
    if error is not None:
        yield from check_error(error)
    found = error and error.get("code")
    if found != code:
        yield Failure("outcome", f"the error is {error}, where {code or 'none'} was due")


def check_next(result: Result, text: str = NEXT_TEXT) -> Iterator[Failure]:
    """Check that the request after the scenario was served."""
    following = result["next"]
    if following is None or following.get("outcome") != "ok" or following.get("text") != text:
        yield Failure("next", f"the request after it gave {following}, not {text!r}")


def _same(what: str, found: object, due: object) -> Iterator[Failure]:
    if found != due:
        yield Failure(what, f"{str(found)[:300]} where {str(due)[:300]} was due")


def _nothing(result: Result, _: Dialogue) -> Iterator[Failure]:
    yield from _same("tokens", result["tokens"], 0)


def _stream(text: str, result: Result, _: Dialogue) -> Iterator[Failure]:
    yield from _same("text", result["text"], text)
    yield from _same("tokens", result["tokens"], len(text.split()))
    yield from _same("finish_reason", result["finish_reason"], "stop")


def _chat(result: Result, dialogue: Dialogue) -> Iterator[Failure]:
    yield from _stream("hello there", result, dialogue)
    messages = [{"role": "user", "content": "hello there"}]
    yield from _same(
        "request", [each["messages"] for each in dialogue.requests("chat")], [messages]
    )


def _left(result: Result, dialogue: Dialogue) -> Iterator[Failure]:
    """Check that a stream was left after three tokens, and that the worker was told and stopped."""
    yield from _same("tokens", result["tokens"], 3)
    first = dialogue.requests("generate")[0]["id"]
    targets = [request.get("target") for request in dialogue.requests("cancel")]
    if targets and targets[0] not in (first, None):
        yield Failure("cancel", f"the cancel is for {targets[0]!r}, not for {first!r}")
    ends = [each for each in dialogue.replies("done", "generate") if each["id"] == first]
    if not targets or [each["finish_reason"] for each in ends] != ["cancelled"]:
        yield Failure("cancel", f"cancels: {targets}; the stream ended with {ends}")


def _aborted(result: Result, dialogue: Dialogue) -> Iterator[Failure]:
    yield from _left(result, dialogue)
    error = result["error"] or {}
    yield from _same("tokens_delivered", error.get("tokens_delivered"), 3)


def _deadline(result: Result, dialogue: Dialogue) -> Iterator[Failure]:
    first = dialogue.requests("generate")[0]
    yield from _same("request", first.get("deadline_seconds"), 0.3)
    error = result["error"] or {}
    yield from _same("tokens_delivered", error.get("tokens_delivered"), result["tokens"])
    if not 0.1 < result["seconds"] < 10:
        yield Failure("seconds", f"a deadline of 0.3 s took {result['seconds']} s")


def _together(result: Result, dialogue: Dialogue) -> Iterator[Failure]:
    yield from _same("texts", result.get("texts"), [f"prompt {place}" for place in range(8)])
    yield from _same("at once", dialogue.at_once("generate"), 8)


def _sleeper(result: Result, dialogue: Dialogue) -> Iterator[Failure]:
    yield from _same("tokens", result["tokens"], SLEEPER_TOKENS)
    yield from _same("texts_equal_length", result.get("texts_equal_length"), True)
    yield from _same("at once", dialogue.at_once("generate"), 2)


def _classify(result: Result, dialogue: Dialogue) -> Iterator[Failure]:
    told = [
        {"index": item["index"], "token_id": item["token_id"]}
        for item in dialogue.replies("item", "classify")
    ]
    yield from _same("items", len(told), 3)
    yield from _same("items", result.get("items"), sorted(told, key=lambda item: item["index"]))


def _batch(result: Result, _: Dialogue) -> Iterator[Failure]:
    due = [
        {"index": index, "text": text, "finish_reason": "stop"}
        for index, text in enumerate(["a", "b", "c"])
    ]
    yield from _same("items", result.get("items"), due)


def _info(result: Result, dialogue: Dialogue) -> Iterator[Failure]:
    told = dialogue.replies("result", "load")[0]
    due = {name: told[name] for name in told.keys() - NOT_OF_THE_MODEL}
    info = result.get("info") or {}
    yield from _same("info", {name: info.get(name) for name in due}, due)


def _bad_option(result: Result, _: Dialogue) -> Iterator[Failure]:
    yield from _same("field", result.get("field"), "temperature")


def _idle(result: Result, dialogue: Dialogue) -> Iterator[Failure]:
    yield from _nothing(result, dialogue)
    commands = [request["cmd"] for request in dialogue.requests()]
    asked = [command for command in commands if command != "unload"]
    yield from _same("request", asked, ["hello", "load", "quit"])


SCENARIOS: dict[str, Scenario] = {
    "generate": Scenario(partial(_stream, "one two three")),
    "chat": Scenario(_chat),
    "cancel": Scenario(_left, next=True, worker=SLOW),
    "abort": Scenario(_aborted, error="cancelled", next=True, worker=SLOW),
    "deadline": Scenario(_deadline, error="deadline_exceeded", next=True, worker=SLOW),
    "together": Scenario(_together, worker=SLOWER),
    "sleeper": Scenario(_sleeper),
    "classify": Scenario(_classify),
    "batch": Scenario(_batch),
    "info": Scenario(_info),
    "bad_option": Scenario(_bad_option, error="invalid_params", excused="schema"),
    "no_model": Scenario(_nothing, error="model_not_loaded"),
    "overlong": Scenario(_nothing, error="message_too_large", next=True),
    "idle": Scenario(_idle),
    "fault": Scenario(partial(_stream, "one two three"), next=True, next_text="one two three"),
}
