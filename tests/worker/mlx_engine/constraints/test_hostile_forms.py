"""No form of an answer ends the worker, or keeps it busy for long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.model_worker import ModelWorker
from support.tiny_model import TINY

RULES = 12_000
MESSAGES = [{"role": "user", "content": "x"}]


def lark(text: str) -> dict[str, Any]:
    return {"type": "grammar", "grammar": text}


def schema(value: Any, *, strict: bool = True) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"schema": value, "strict": strict}}


def chain(rule: str) -> str:
    return (
        "start: r0\n"
        + "".join(rule.format(n, n + 1) for n in range(RULES))
        + f'r{RULES}: "a"\n'
    )


def references(step: Any) -> dict[str, Any]:
    names = [f"r{n}" for n in range(5_000)]
    links = dict(zip(names, ({"$ref": f"#/$defs/{name}"} for name in names[1:]), strict=False))
    return {"$defs": {**{n: step(r) for n, r in links.items()}, names[-1]: {"type": "null"}},
            "$ref": "#/$defs/r0"}  # fmt: skip


DEEP = {
    "rules": lark(chain("r{0}: r{1}\n")),
    "rules without an end": lark(chain("r{0}: r{1} | r{1} r{1}\n")[: 1 << 18]),
    "few rules without an end": lark("\n".join(chain("r{0}: r{1} r{1}\n").split("\n")[:490])),
    "terminals": lark(chain("r{0}: r{1}\n").replace("r", "T").replace("staTt", "start")),
    "GBNF": {
        "type": "grammar",
        "syntax": "gbnf",
        "grammar": chain("r{0}: r{1}\n").replace("start", "root").replace(":", " ::="),
    },
    "parentheses": lark("start: " + "(" * 50_000 + '"a"' + ")" * 50_000),
    "expression": {"type": "regex", "regex": "(" * 50_000 + "a" + ")" * 50_000},
    "repetitions": {"type": "regex", "regex": "((((a{1,99}){1,99}){1,99}){1,99}){1,99}"},
    "references": schema(references(lambda reference: reference)),
    "alternatives": schema(
        references(lambda ref: {"anyOf": [ref, {"type": "array", "items": ref}]})
    ),
    "itself": schema({"$ref": "#"}),
    "steps": schema({"type": "integer", "multipleOf": 9_999_991}, strict=False),
    "words": schema({"enum": [f"word {n}" for n in range(15_000)]}),
    "names": schema({"properties": {f"name{n}": {"type": "integer"} for n in range(6_000)}}),
}


@pytest.mark.parametrize("form", DEEP.values(), ids=DEEP.keys())
def test_the_worker_outlives_a_deep_or_large_form(
    worker: ModelWorker, form: dict[str, Any]
) -> None:
    worker.use(TINY)
    request = worker.send("chat", messages=MESSAGES, response_format=form, max_tokens=3)
    ended = worker.final(request)

    if ended["type"] == "error":
        assert ended["error"]["code"] == "invalid_params", json.dumps(ended)[:500]
        assert ended["error"]["data"]["field"].startswith("response_format")
    assert worker.ask("chat", messages=MESSAGES, max_tokens=1)["type"] == "done"


@pytest.mark.parametrize("step", [9_999_991, 0.0001234567, 10_001])
def test_a_step_that_compiles_for_minutes_is_refused_or_left_to_the_check(
    worker: ModelWorker, step: float
) -> None:
    worker.use(TINY)
    asked = {"type": "object", "properties": {"n": {"type": "number", "multipleOf": step}},
             "required": ["n"], "additionalProperties": False}  # fmt: skip
    refused = worker.refusal("chat", messages=MESSAGES, response_format=schema(asked))
    done = worker.ask("chat", messages=MESSAGES, response_format=schema(asked, strict=False))

    assert refused["data"]["path"] == "/properties/n/multipleOf"
    assert refused["data"]["keyword"] == "multipleOf"
    assert done["schema_valid"] is not None


def test_another_request_streams_while_a_large_form_compiles(worker: ModelWorker) -> None:
    worker.use(TINY)
    running = worker.send("generate", prompt="x", max_tokens=200, ignore_eos=True)
    worker.first_token(running)
    slow = worker.send("chat", messages=MESSAGES, response_format=DEEP["words"], max_tokens=3)
    cancelled = worker.send("chat", messages=MESSAGES, response_format=DEEP["names"])
    assert worker.ask("cancel", target=cancelled)["outcome"] in ("accepted", "finished")

    assert worker.final(running)["tokens_generated"] == 200
    assert worker.final(cancelled)["final"]
    assert worker.final(slow)["final"]
