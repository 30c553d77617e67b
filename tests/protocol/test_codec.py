"""Every malformed request by its code and field, and what may go on the wire (SPEC §1, §2)."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxwire_protocol import WireError
from mlxwire_protocol.codec import convert_command, encode, encode_token, parse_object, valid_id
from mlxwire_protocol.commands import command_name
from mlxwire_protocol.replies import Item
from protocol.strategies import JSON_VALUES, near_misses, requests

NOT_JSON = [
    b"", b"{", b"}", b'{"a":}', b'{"a":1,}', b"{'a':1}", b'{"a":01}', b'{"a":NaN}', b'{"a":Infinity}',
    b'{"a":-Infinity}', b'{"a":1e400}', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":"\\udc00x"}',
    b'{"a":"\xed\xa0\x80"}', b'{"a":"\x00"}', b'{"a":"\t"}', b"{}{}", b"{} x", b"\x00{}", b"{}\x00",
    b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"// {}", b"hello", b"[" * 2000, b'{"a":' * 2000,
]  # fmt: skip
NO_OBJECT = [b"null", b"true", b"5", b"-0.5", b'"hello"', b"[]", b'[{"id":"x"}]']

CHAT = {"messages": [{"role": "user", "content": "x"}]}
WRONG_FIELDS: list[tuple[str, dict[str, Any], str]] = [
    ("hello", {}, "protocols"),
    ("hello", {"protocols": 1}, "protocols"),
    ("hello", {"protocols": ["1"]}, "protocols[0]"),
    ("hello", {"protocols": [1], "require": [1]}, "require[0]"),
    ("hello", {"protocols": [1], "events": "all"}, "events"),
    ("hello", {"protocols": [1], "client": {"name": 5}}, "client.name"),
    ("load", {}, "path"),
    ("load", {"path": ""}, "path"),
    ("load", {"path": 5}, "path"),
    ("load", {"path": "x" * 4097}, "path"),
    ("load", {"path": "x", "context_len": 0}, "context_len"),
    ("load", {"path": "x", "context_len": -1}, "context_len"),
    ("load", {"path": "x", "context_len": 2**53}, "context_len"),
    ("load", {"path": "x", "adapter_path": ""}, "adapter_path"),
    ("load", {"path": "x", "parallel_slots": 0}, "parallel_slots"),
    ("load", {"path": "x", "parallel_slots": 4097}, "parallel_slots"),
    ("load", {"path": "x", "warmup": 1}, "warmup"),
    ("load", {"path": "x", "trust_remote_code": True}, "trust_remote_code"),
    ("unload", {"path": "x"}, "path"),
    ("info", {"x": None}, "x"),
    ("generate", {}, "prompt"),
    ("generate", {"prompt": ""}, "prompt"),
    ("generate", {"prompt": None}, "prompt"),
    ("generate", {"prompt": ["x"]}, "prompt"),
    ("generate", {"prompt": "x", "messages": []}, "messages"),
    ("generate", {"prompt": "x", "max_tokens": -1}, "max_tokens"),
    ("generate", {"prompt": "x", "max_tokens": 1.5}, "max_tokens"),
    ("generate", {"prompt": "x", "max_tokens": "5"}, "max_tokens"),
    ("generate", {"prompt": "x", "max_tokens": True}, "max_tokens"),
    ("generate", {"prompt": "x", "max_tokens": None}, "max_tokens"),
    ("generate", {"prompt": "x", "max_tokens": 2**53}, "max_tokens"),
    ("generate", {"prompt": "x", "temperature": -0.1}, "temperature"),
    ("generate", {"prompt": "x", "temperature": 100.5}, "temperature"),
    ("generate", {"prompt": "x", "temperature": "hot"}, "temperature"),
    ("generate", {"prompt": "x", "top_k": -1}, "top_k"),
    ("generate", {"prompt": "x", "top_p": 1.01}, "top_p"),
    ("generate", {"prompt": "x", "min_p": -0.01}, "min_p"),
    ("generate", {"prompt": "x", "repeat_penalty": -1}, "repeat_penalty"),
    ("generate", {"prompt": "x", "seed": -1}, "seed"),
    ("generate", {"prompt": "x", "seed": 1.5}, "seed"),
    ("generate", {"prompt": "x", "stop": ""}, "stop"),
    ("generate", {"prompt": "x", "stop": ["a", ""]}, "stop[1]"),
    ("generate", {"prompt": "x", "stop": ["a"] * 65}, "stop"),
    ("generate", {"prompt": "x", "stop_tokens": [-1]}, "stop_tokens[0]"),
    ("generate", {"prompt": "x", "stop_tokens": [2**31]}, "stop_tokens[0]"),
    ("generate", {"prompt": "x", "ignore_eos": 0}, "ignore_eos"),
    ("generate", {"prompt": "x", "min_tokens": -1}, "min_tokens"),
    ("generate", {"prompt": "x", "presence_penalty": 101}, "presence_penalty"),
    ("generate", {"prompt": "x", "frequency_penalty": -101}, "frequency_penalty"),
    ("generate", {"prompt": "x", "penalty_window": -1}, "penalty_window"),
    ("generate", {"prompt": "x", "logit_bias": [1]}, "logit_bias"),
    ("generate", {"prompt": "x", "xtc_probability": 2}, "xtc_probability"),
    ("generate", {"prompt": "x", "xtc_threshold": 0.6}, "xtc_threshold"),
    ("generate", {"prompt": "x", "top_logprobs": 65}, "top_logprobs"),
    ("generate", {"prompt": "x", "logprobs": 1}, "logprobs"),
    ("generate", {"prompt": "x", "cache": None}, "cache"),
    ("generate", {"prompt": "x", "thinking": True}, "thinking"),
    ("generate", {"prompt": "x", "no_such_option": 5}, "no_such_option"),
    ("generate", {"prompt": "x", "": 5}, ""),
    ("chat", {}, "messages"),
    ("chat", {"messages": []}, "messages"),
    ("chat", {"messages": "hi"}, "messages"),
    ("chat", {"messages": ["hi"]}, "messages[0]"),
    ("chat", {"messages": [{}]}, "messages[0].role"),
    ("chat", {"messages": [*CHAT["messages"], {"role": "user"}]}, "messages[1].content"),
    ("chat", {"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ("chat", {"messages": [{"role": "assistant", "tool_calls": []}]}, "messages[0].content"),
    ("chat", {"messages": [{"role": "tool", "tool_call_id": "c"}]}, "messages[0].content"),
    ("tokenize", {"messages": [{"role": "assistant"}]}, "messages[0].content"),
    ("chat", {"messages": [{"role": "", "content": "x"}]}, "messages[0].role"),
    ("chat", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ("chat", {"messages": [{"role": "user", "content": "x", "name": ""}]}, "messages[0].name"),
    ("chat", {**CHAT, "thinking": None}, "thinking"),
    ("chat", {**CHAT, "no_such_option": []}, "no_such_option"),
    ("classify", {"prompts": "x"}, "prompts"),
    ("classify", {"messages": []}, "messages"),
    ("classify", {"messages": [[]]}, "messages[0]"),
    ("classify", {"messages": [[{"role": "user"}]]}, "messages[0][0].content"),
    ("classify", {"prompts": ["x"], "separator": "x" * 4097}, "separator"),
    ("classify", {"prompts": []}, "prompts"),
    ("classify", {"prompts": ["x", 5]}, "prompts[1]"),
    ("classify", {"prompts": ["x"], "labels": [""]}, "labels[0]"),
    ("classify", {"prompts": ["x"], "logits": "yes"}, "logits"),
    ("load", {"path": "x", "kv_bits": 5}, "kv_bits"),
    ("load", {"path": "x", "context_policy": "forget"}, "context_policy"),
    ("load", {"path": "x", "prefill_seconds": 0}, "prefill_seconds"),
    ("generate", {"prompt": "x", "window": 0}, "window"),
    ("generate", {"prompt": "x", "deadline_seconds": 0}, "deadline_seconds"),
    ("batch", {}, "prompts"),
    ("batch", {"prompts": [[]]}, "prompts[0]"),
    ("rerank", {"query": "x", "documents": ["x", ""]}, "documents[1]"),
    ("batch", {"prompts": ["x"], "stream": 1}, "stream"),
    ("credit", {"n": 1}, "target"),
    ("credit", {"target": "a"}, "n"),
    ("credit", {"target": "a", "n": 0}, "n"),
    ("cache", {"action": "burn"}, "action"),
    ("memory", {"memory_limit": -1}, "memory_limit"),
    ("cancel", {"target": ""}, "target"),
    ("cancel", {"target": 5}, "target"),
    ("cancel", {"id2": 5}, "id2"),
    ("metrics", {"all": True}, "all"),
    ("quit", {"now": True}, "now"),
]


def outcome(fields: dict[str, Any]) -> tuple[str, str | None]:
    """Return "accepted" for a request, or the error's code and field."""
    try:
        convert_command(fields)
    except WireError as error:
        return error.code, error.field
    return "accepted", None


@pytest.mark.parametrize("raw", NOT_JSON, ids=lambda raw: repr(raw[:20]))
def test_what_is_not_json_is_a_parse_error(raw: bytes) -> None:
    with pytest.raises(WireError) as caught:
        parse_object(raw)
    assert caught.value.code == "parse_error"
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("raw", NO_OBJECT)
def test_json_that_is_no_object_is_an_invalid_request(raw: bytes) -> None:
    with pytest.raises(WireError) as caught:
        parse_object(raw)
    assert caught.value.code == "invalid_request"


def test_a_thousand_levels_are_not_too_deep() -> None:
    assert parse_object(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}")


@pytest.mark.parametrize(("command", "fields", "field"), WRONG_FIELDS)
def test_a_wrong_field_is_named(command: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(WireError) as caught:
        convert_command({"id": "a", "cmd": command, **fields})
    assert caught.value.code == "invalid_params"
    assert caught.value.field == field
    assert f"`{field}`" in caught.value.message
    assert f"`{command}`" in caught.value.message


@pytest.mark.parametrize(
    ("command", "fields", "choices"),
    [
        ("load", {"path": "x", "kv_bits": 5}, "2, 3, 4, 6, 8"),
        ("load", {"path": "x", "kv_group_size": 7}, "32, 64, 128"),
        ("cache", {"action": "empty"}, '"clear", "load", "save", "stats", "warm"'),
    ],
)
def test_what_is_none_of_a_few_is_told_them(
    command: str, fields: dict[str, Any], choices: str
) -> None:
    with pytest.raises(WireError, match=f"; give one of {choices}$"):
        convert_command({"id": "r1", "cmd": command, **fields})


def test_hello_alone_ignores_what_it_does_not_know() -> None:
    fields = {"protocols": [1], "x": 1, "client": {"name": "n", "os": "plan9"}}
    assert command_name(convert_command({"id": "a", "cmd": "hello", **fields})) == "hello"


@pytest.mark.parametrize("name", ["no_such_command", "", "Generate", "x" * 9999])
def test_an_unknown_command_is_told_in_few_words(name: str) -> None:
    with pytest.raises(WireError) as caught:
        convert_command({"id": "a", "cmd": name})
    assert caught.value.code == "unknown_command"
    assert len(caught.value.message) < 400


def test_a_huge_field_name_is_not_echoed_whole() -> None:
    with pytest.raises(WireError) as caught:
        convert_command({"id": "a", "cmd": "info", "x" * 10**6: 1})
    assert len(caught.value.message) < 400
    assert len(caught.value.field or "") < 200


@given(requests())
def test_every_valid_request_is_accepted(request_fields: dict[str, Any]) -> None:
    command = convert_command({"id": "a", **request_fields})
    assert command_name(command) == request_fields["cmd"]
    for name, value in request_fields.items():
        if name not in ("cmd", "messages"):
            assert getattr(command, name) == value


@given(near_misses())
def test_a_near_miss_is_served_or_told_with_its_field(fields: dict[str, Any]) -> None:
    if isinstance(fields.get("cmd"), str):
        code, field = outcome(fields)
        assert code in ("accepted", "unknown_command", "invalid_params")
        assert (field is not None) == (code == "invalid_params")


@pytest.mark.parametrize(
    ("value", "valid"),
    [("a", True), ("é" * 64, True), ("é" * 65, False), ("x" * 128, True), ("x" * 129, False),
     ("", False), (None, False), (5, False), (True, False), (["a"], False)],
)  # fmt: skip
def test_an_id_is_a_string_of_1_to_128_bytes(value: object, valid: bool) -> None:
    assert valid_id(value) is valid


def test_nan_and_infinity_become_null() -> None:
    item = Item(id="a", index=0, token="x", token_id=1, logprob=float("-inf"))
    assert json.loads(encode(item))["logprob"] is None
    assert encode({"a": [float("nan"), float("inf"), 0.5]}) == b'{"a":[null,null,0.5]}\n'


def test_lone_surrogates_become_replacement_characters() -> None:
    sent = encode({"a\udc00": ["x\ud800", "\ud83d\ude00", {"b": "\udfff\ud83d"}]})
    assert json.loads(sent) == {"a\ufffd": ["x\ufffd", "😀", {"b": "\ufffd\ufffd"}]}


def test_integers_stay_exact_for_every_reader() -> None:
    bound = 2**53 - 1
    sent = encode({"a": 2**53, "b": -(2**80), "c": bound, "d": True, "e": -bound, "f": 1.5})
    assert sent == b'{"a":%d,"b":-%d,"c":%d,"d":true,"e":-%d,"f":1.5}\n' % ((bound,) * 4)


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63 - 1, 2**64 - 1, 2**80])
def test_one_integer_past_the_bound_is_enough(value: int) -> None:
    assert abs(json.loads(encode({"a": value}))["a"]) == 2**53 - 1


def test_line_ends_within_text_are_escaped() -> None:
    sent = encode({"a": "x\r\n\u2028"})
    assert sent.count(b"\n") == 1
    assert sent.endswith(b"\n")


@given(JSON_VALUES)
def test_whatever_is_encoded_is_one_line_of_strict_json(value: Any) -> None:
    line = encode({"value": value})
    assert line.index(b"\n") == len(line) - 1
    orjson.loads(line)


@given(st.text(), st.text(st.characters(exclude_categories=[])), st.integers(0, 2**40))
def test_a_token_line_is_what_the_general_encoder_writes(
    name: str, text: str, seq: int
) -> None:
    fields = {"id": name, "type": "token", "seq": seq, "token": text, "token_id": 7}
    assert encode_token(name, seq, text, 7) == encode(fields)
