"""The id of a line that can't be read as a whole: found where it stands, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxwire_protocol.codec import recover_id, valid_id
from protocol.strategies import near_misses


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (b'{"id":"a","cmd":"generate","prompt":"x', "a"),
        (b' { "id" : "a" , "x', "a"),
        (b'{"cmd":"generate","id":"a"', "a"),
        (b'{"prompt":"\xff\xfe","id":"a"', "a"),
        (b'{"id":"a\\u0062\\"c"', 'ab"c'),
        ('{"id":"é"'.encode(), "é"),
        (b'{"\\u0069d":"a"', "a"),
        (b'{"data":{"id":"inner"},"id":"a"', "a"),
        (b'{"data":[{"id":"inner"}],"id":"a"', "a"),
        (b'{"prompt":"\\"id\\":\\"quoted\\"","id":"a"', "a"),
        (b'{"prompt":",\\"id\\":\\"quoted\\"","id":"a"', "a"),
        (b'{"role":"id","id":"a"', "a"),
        (b'{"a":["id","inner"],"id":"a"', "a"),
        (b'{"id":"a","id":"b"', "a"),
        (b'{"data":{"id":"inner"', None),
        (b'{"prompt":"\\"id\\":\\"quoted\\"', None),
        (b'{"prompt":"id","x":"y"', None),
        (b'{"id":"cut off', None),
        (b'{"id":', None),
        (b'{"id"', None),
        (b'{"id":5,"x":"id"', None),
        (b'{"id":null', None),
        (b'{"id":{"id":"inner"}', None),
        (b'{"id":""', None),
        (b'{"id":"' + b"x" * 129 + b'"', None),
        (b'{"id":"a\x00b"', None),
        (b'{"id":"\xff"', None),
        (b'{"id":"\\ud800"', None),
        (b'{"pad":"' + b"x" * 600 + b'","id":"a"', None),
        (b'{},{"id":"a"', None),
        (b'}{"id":"a"', None),
        (b'[{"id":"a"', None),
        (b'[1,"id":"a"', None),
        (b'{"id","a"', None),
        (b'{"x":"id":"a"', None),
        (b'"id":"a"', None),
        (b"", None),
        (b"\xff" * 512, None),
        (b"{" * 512, None),
        (b'"' * 512, None),
        (b"\\" * 512, None),
    ],
)
def test_an_id_is_recovered_only_where_the_top_level_shows_it(
    prefix: bytes, expected: str | None
) -> None:
    assert recover_id(prefix) == expected


@given(st.binary(max_size=600))
def test_any_prefix_gives_an_id_or_none(prefix: bytes) -> None:
    recovered = recover_id(prefix)
    assert recovered is None or valid_id(recovered)


@given(near_misses(), st.integers(0, 600))
def test_what_is_recovered_is_the_lines_own_id(fields: dict[str, Any], cut: int) -> None:
    line = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert recover_id(line[:cut]) in (None, fields.get("id"))
