"""The error for a request that does not fit its type: the value, and what is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_protocol import WireError
from mlxwire_protocol.codec import convert_command

WORDS = [
    ({"temperature": -1}, "`temperature` of `generate` is -1; give a number of at least 0"),
    ({"temperature": "hot"}, "`temperature` of `generate` is a string; give a number"),
    ({"top_logprobs": 65}, "`top_logprobs` of `generate` is 65; give an integer of at most 64"),
    ({"prompt": None}, "`prompt` of `generate` is null; give a string"),
    ({"prompt": ""}, "`prompt` of `generate` is empty; give at least 1 character"),
    ({"ignore_eos": 1}, "`ignore_eos` of `generate` is 1; give true or false"),
    ({"stop": 3}, "`stop` of `generate` is 3; give a string or an array"),
    ({"stop": ["a", 3]}, "`stop[1]` of `generate` is 3; give a string"),
    (
        {"stop": ["a"] * 65},
        "`stop` of `generate` has 65 elements; give at most 64 elements",
    ),
    (
        {"logit_bias": {"cat": 1}},
        "`logit_bias` of `generate` has a name that is not a token id in digits; "
        'give names such as "17"',
    ),
    (
        {"temprature": 1},
        "`generate` has no field `temprature`; correct the name, or leave it out",
    ),
]


@pytest.mark.parametrize(("fields", "words"), WORDS, ids=[words[:40] for _, words in WORDS])
def test_a_refusal_says_the_value_and_what_is_accepted(
    fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(WireError) as caught:
        convert_command({"id": "a", "cmd": "generate", "prompt": "p", **fields})
    assert caught.value.message == words


def test_a_text_of_the_wrong_kind_is_not_quoted() -> None:
    with pytest.raises(WireError) as caught:
        convert_command({"id": "a", "cmd": "batch", "prompts": "a secret prompt"})
    assert "secret" not in caught.value.message
