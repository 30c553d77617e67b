"""The table of commands: complete, and the one source of what is derived from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxwire_protocol.codec import convert_command
from mlxwire_protocol.commands import (
    COMMANDS,
    FEATURES,
    TABLE,
    actions_of,
    capabilities,
    row_of,
)
from mlxwire_protocol.dialect0 import translation
from mlxwire_protocol.messages import Cache, Command, Streaming
from mlxwire_protocol.schema import protocol_schema
from protocol.examples import REQUESTS


def all_requests(kind: type[Command]) -> set[type[Command]]:
    """Return the request types below a base, without those that have no tag of their own."""
    below = {each for sub in kind.__subclasses__() for each in (sub, *all_requests(sub))}
    return {each for each in below if isinstance(each.__struct_config__.tag, str)}


def test_every_request_type_has_one_row() -> None:
    of_dialect0 = {translation.Dialect0Chat, translation.Dialect0Load}
    kinds = all_requests(Command) - of_dialect0
    concrete = {kind for kind in kinds if not kinds & set(kind.__subclasses__())}

    assert [row.request for row in COMMANDS.values()] == [
        row.request for row in TABLE if row.action is None
    ]
    assert {row.request for row in TABLE} == concrete


def test_a_request_that_names_a_window_ends_in_done_and_no_other_does() -> None:
    for row in TABLE:
        assert (row.final == "done") == issubclass(row.request, Streaming), row.name


@pytest.mark.parametrize("action", ["stats", "clear", "warm", "save", "load"])
def test_an_action_is_found_by_its_request(action: str) -> None:
    request = convert_command({"id": "1", "cmd": "cache", "action": action})
    assert isinstance(request, Cache)

    lane = "sequences" if action == "warm" else "between_steps"
    assert row_of(request).lane == lane


def test_only_cache_has_an_action_of_its_own() -> None:
    assert [row.action for name in COMMANDS for row in actions_of(name)] == ["warm"]


def test_a_full_worker_takes_what_is_answered_at_once() -> None:
    at_once = {row.name for row in TABLE if row.lane == "at_once"}

    assert at_once == {"hello", "cancel", "credit", "info", "metrics", "quit"}


def test_dialect_0_streams_what_ends_in_done() -> None:
    assert {"generate", "chat"} == translation.STREAMS


@pytest.mark.parametrize("engine", ["mlx", "mock"])
def test_hello_tells_all_commands_but_itself_and_all_features(engine: Any) -> None:
    told = capabilities(engine)

    assert set(told) == (set(COMMANDS) - {"hello"}) | set(FEATURES)
    options = {"context_policy", "kv_bits", "adapter_path", "compute_dtype", "thinking"}
    mlx_only = {"prompt_cache", "inspect", "response_format", *options}
    assert {name for name, able in told.items() if not able} == (
        mlx_only if engine == "mock" else set()
    )


def test_the_schema_carries_the_table() -> None:
    schema = protocol_schema()

    commands = schema["x-commands"]
    assert list(commands) == list(COMMANDS)
    assert commands["cache"]["actions"] == {"warm": {"lane": "sequences"}}
    for name, row in COMMANDS.items():
        told = commands[name]
        assert (told["final"], told["lane"]) == (row.final, row.lane)
        assert told["needs_model"] is row.needs_model
        assert told["request"] in schema["$defs"]
    assert schema["x-features"]["kv_bits"] == {"mlx": True, "mock": False}
    json.dumps(commands)


def test_every_example_has_a_row() -> None:
    for fields in REQUESTS:
        assert row_of(convert_command(fields)).name == fields["cmd"]
