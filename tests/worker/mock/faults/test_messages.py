"""Faults of framing and meaning: the bytes that a worker writes are the ones a script names."""

from __future__ import annotations

import pytest

from .conftest import GENERATE, Play

TOKEN = {"phase": "request", "type": "token", "nth": 2}
DONE = {"phase": "request", "type": "done"}
TOKENS = ["token", "token", "token", "done"]


def test_without_a_fault_the_mock_serves(play: Play) -> None:
    played = play()
    assert played.kinds("g") == TOKENS
    assert played.returncode == 0


def test_a_field_is_set_and_another_removed(play: Play) -> None:
    played = play({**TOKEN, "kind": "change", "set": {"seq": 7}, "remove": ["token"]})
    second = played.replies("g")[1]
    assert second["seq"] == 7
    assert "token" not in second
    assert played.replies("g")[0]["token"] == "one"


def test_a_message_is_left_out(play: Play) -> None:
    assert play({**DONE, "kind": "drop"}).kinds("g") == TOKENS[:-1]


def test_a_message_comes_more_often(play: Play) -> None:
    played = play({**DONE, "kind": "repeat", "times": 2})
    assert played.kinds("g") == [*TOKENS, "done", "done"]


@pytest.mark.parametrize("after", [False, True])
def test_a_message_is_put_beside_another(play: Play, after: bool) -> None:
    extra = {"id": "$id", "type": "token", "seq": "$seq", "token": "!", "token_id": 1}
    played = play({**DONE, "kind": "insert", "message": extra, "after": after})
    assert played.kinds("g")[3:] == (["done", "token"] if after else ["token", "done"])
    assert [each["seq"] for each in played.replies("g") if each["type"] == "token"] == [
        0,
        1,
        2,
        3,
    ]


def test_a_burst_goes_on_counting_and_is_counted(play: Play) -> None:
    *tokens, done = play({**DONE, "kind": "burst", "tokens": 10000}).replies("g")
    assert [token["seq"] for token in tokens] == list(range(10003))
    assert done["tokens_generated"] == 10003


def test_bytes_of_a_line_are_replaced(play: Play) -> None:
    played = play(
        {**TOKEN, "kind": "rewrite", "old": "two", "new": {"hex": "ff"}},
        {**TOKEN, "kind": "rewrite", "old": '"seq":1', "new": '"seq":NaN'},
    )
    assert b'"seq":NaN,"token":" \xff"' in played.stdout


def test_a_rewrite_that_fits_nothing_says_so(play: Play) -> None:
    assert (
        b"`old` is 'four', which is not in the line"
        in play({**TOKEN, "kind": "rewrite", "old": "four", "new": ""}).stderr
    )


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_line_has_the_limit_and_so_many_bytes_more(play: Play, over: int) -> None:
    played = play({**TOKEN, "kind": "pad", "over": over})
    assert max(map(len, played.stdout.split(b"\n"))) == 4096 + over


def test_what_is_no_message_is_written_where_the_script_says(play: Play) -> None:
    parts = ["\ufeff", {"hex": "00ff"}, {"repeat": "ab", "times": 70000}, "\n"]
    stdout = play({**TOKEN, "kind": "write", "parts": parts}).stdout
    assert b'"one","token_id":351}\n\xef\xbb\xbf\x00\xff' + b"ab" * 70000 + b"\n{" in stdout


def test_line_ends_change_from_their_message_on(play: Play) -> None:
    lines = play({**TOKEN, "kind": "line_end", "text": "\r\n"}).stdout.split(b"\n")[:-1]
    assert [line.endswith(b"\r") for line in lines[-4:]] == [False, True, True, True]


@pytest.mark.parametrize("cut", [{"sizes": [1]}, {"sizes": [3, 64]}, {"up_to": 9}])
def test_splits_change_when_bytes_are_written_and_no_byte(play: Play, cut: dict) -> None:
    split = {"kind": "split", "phase": "start", "command": "hello", **cut}
    assert play(split).kinds("g") == play().kinds("g")


def test_a_script_that_names_a_command_and_an_id_changes_no_other_message(play: Play) -> None:
    requests = [{**GENERATE, "id": "a"}, {"id": "i", "cmd": "info"}, {**GENERATE, "id": "b"}]
    other = {"kind": "drop", "phase": "request"}
    played = play({**other, "id": "b"}, {**other, "command": "info"}, requests=requests)
    assert played.kinds("a") == TOKENS
    assert played.kinds("i") == []
    assert played.kinds("b") == TOKENS[1:]


def test_several_faults_apply_to_one_message(play: Play) -> None:
    faults = [{**TOKEN, "kind": "change", "set": {"token": "x"}}, {**TOKEN, "kind": "repeat"}]
    assert [each.get("token") for each in play(*faults).replies("g")] == [
        "one", "x", "x", " three", None,
    ]  # fmt: skip


def test_text_that_is_not_ascii_leaves_as_it_is(play: Play) -> None:
    text = "\u2028\U0001f600"
    assert text.encode() in play({**TOKEN, "kind": "change", "set": {"token": text}}).stdout
