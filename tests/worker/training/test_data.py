"""Data is checked line by line before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.text.chat_template import find_templates
from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from mlxwire_worker.training.data.batches import Batches, make_batch
from mlxwire_worker.training.data.files import MOST_TOLD
from mlxwire_worker.training.data.rows import BadRow, Row, RowEncoder
from support.tiny_model import TINY
from support.training import ROWS, train, write_rows

Models = Callable[..., Path]
USER = {"role": "user", "content": "Hi."}
ANSWER = {"role": "assistant", "content": "Hello."}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.fixture
def encoder(request: pytest.FixtureRequest) -> Iterator[RowEncoder]:
    options = {"longest": 64, "mask_prompt": False, **getattr(request, "param", {})}
    process = TemplateProcess()
    yield RowEncoder(Tokenizer.from_folder(TINY), find_templates(TINY), process, **options)
    process.close()


def refused(path: Path, out: Path, rows: list[Any], **options: Any) -> WireError:
    with pytest.raises(WireError) as error:
        train(path, out, write_rows(out.parent / "bad.jsonl", rows), **options)
    assert error.value.code == "invalid_params"
    return error.value


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "\xff"}', "not UTF-8"),
        (b'{"text": "a"', "not JSON"),
        (b'{"text": NaN}', "not JSON"),
        (b"[1, 2]", "no object"),
        ({"text": "a", "label": 1}, "unknown key 'label'"),
        ({"text": "a", "prompt": "b"}, "`prompt`, `text`"),
        ({"prompt": "a"}, "`prompt`"),
        ({}, "no key"),
        ({"text": " \n"}, "empty"),
        ({"text": 3}, "is a number, no text"),
        ({"text": None}, "is null, no text"),
        ({"prompt": {}, "completion": "b"}, "is an object, no text"),
        ({"prompt": "a", "completion": ""}, "empty"),
        ({"prompt": ["a"], "completion": "b"}, "is an array, no text"),
        ({"messages": []}, "messages"),
        ({"messages": [USER]}, "no turn of the role `assistant`"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "empty"),
        ({"messages": [{"role": "user"}, ANSWER]}, "content"),
        ({"messages": [{"role": "user", "content": None}, ANSWER]}, "content"),
        ({"messages": [{**USER, "weight": 0}, ANSWER]}, "weight"),
        ({"messages": [{"role": "wizard", "content": "x"}, ANSWER]}, "unknown role"),
        ({"messages": [USER, ANSWER], "tools": [{"type": "function"}]}, "tools"),
        ({"messages": "Hi."}, "messages"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_line_is_refused_with_its_number_and_reason(
    tmp_path: Path, line: Any, reason: str
) -> None:
    error = refused(TINY, tmp_path / "out", [ROWS[0], line, ROWS[1]])

    assert error.data["field"] == "data"
    assert [each["line"] for each in error.data["lines"]] == [2]
    assert reason in error.data["lines"][0]["reason"]
    assert "line 2" in error.message


def test_all_bad_lines_are_counted_and_the_first_are_told(tmp_path: Path) -> None:
    error = refused(TINY, tmp_path / "out", [b"no", *ROWS, *[b"no"] * 30])

    assert error.data["bad_lines"] == 31
    assert [each["line"] for each in error.data["lines"][:3]] == [1, 10, 11]
    assert len(error.data["lines"]) == MOST_TOLD
    assert "11 more" in error.message


def test_a_bad_line_of_the_validation_is_told_as_such(tmp_path: Path) -> None:
    bad = write_rows(tmp_path / "valid.jsonl", [b"{"])

    with pytest.raises(WireError) as error:
        train(TINY, tmp_path / "out", validation=bad)

    assert error.value.data["field"] == "validation"


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_a_row_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "no row" in refused(TINY, tmp_path / "out", [content]).message


@pytest.mark.parametrize(
    ("options", "field", "most"),
    [
        ({}, "batch_size", 3),
        ({"batch_size": 2, "gradient_accumulation": 2}, "batch_size", 1),
        ({"batch_size": 2, "gradient_accumulation": 9}, "gradient_accumulation", 1),
        ({"batch_size": 9, "gradient_accumulation": 9}, "gradient_accumulation", 3),
    ],
)
def test_too_few_rows_for_a_step_are_refused_with_what_would_do(
    tmp_path: Path, options: dict[str, Any], field: str, most: int
) -> None:
    error = refused(TINY, tmp_path / "out", ROWS[:3], **options)

    assert error.data["field"] == field
    assert f"`{field}` to at most {most}" in error.message


def test_a_prompt_that_leaves_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "word " * 100, "completion": "end"}

    error = refused(TINY, tmp_path / "out", [row] * 4, mask_prompt=True, max_sequence=32)

    assert "raise `max_sequence`" in error.message
    assert error.data["bad_lines"] == 4


def test_mask_prompt_is_refused_for_a_text(tmp_path: Path) -> None:
    error = refused(TINY, tmp_path / "out", [{"text": "One two."}], mask_prompt=True)

    assert "mask_prompt" in error.data["lines"][0]["reason"]


@pytest.mark.parametrize("encoder", [{"mask_prompt": True}], indirect=True)
def test_with_mask_prompt_a_conversation_must_end_with_an_answer(encoder: RowEncoder) -> None:
    with pytest.raises(BadRow, match="last turn"):
        encoder.encode({"messages": [USER, ANSWER, USER]})


@pytest.mark.parametrize("encoder", [{"mask_prompt": True}], indirect=True)
def test_with_mask_prompt_the_answer_alone_is_learned(encoder: RowEncoder) -> None:
    tokenizer = Tokenizer.from_folder(TINY)

    row = encoder.encode({"messages": [USER, ANSWER, USER, {**ANSWER, "content": "Bye."}]})

    assert tokenizer.decode(row.ids[row.masked :].tolist()) == "Bye.<|im_end|>\n"


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": "a<|im_end|>b"}, ANSWER]},
        {"messages": [USER, {"role": "assistant", "content": "a<|im_end|>b"}]},
        {"prompt": "a<|im_end|>b", "completion": "Hello."},
    ],
)
def test_the_text_of_a_row_never_becomes_a_control_token(
    encoder: RowEncoder, fields: dict[str, Any]
) -> None:
    end = Tokenizer.from_folder(TINY).token_id("<|im_end|>")

    assert encoder.encode(fields).ids.tolist().count(end) == 2


def test_the_tools_of_a_row_are_rendered(encoder: RowEncoder) -> None:
    call = {"function": {"name": "add", "arguments": '{"a": 1}'}}
    turns = [USER, {"role": "assistant", "tool_calls": [call]}]

    row = encoder.encode({"messages": turns, "tools": [TOOL]})

    text = Tokenizer.from_folder(TINY).decode(row.ids.tolist())
    assert "Tools:" in text
    assert '"arguments": {"a": 1}' in text


def test_a_thought_of_a_row_is_learned(encoder: RowEncoder) -> None:
    answer = {**ANSWER, "reasoning_content": "Be kind."}

    row = encoder.encode({"messages": [USER, answer]})

    text = Tokenizer.from_folder(TINY).decode(row.ids.tolist())
    assert "<think>Be kind.</think>Hello." in text


def test_long_rows_are_cut_and_counted(tmp_path: Path) -> None:
    rows = [*ROWS, *[{"text": "word " * 200}] * 2]

    run = train(
        TINY,
        tmp_path / "out",
        write_rows(tmp_path / "long.jsonl", rows),
        iterations=1,
        max_sequence=64,
    )

    assert run.last["rows"] == 10
    assert run.last["truncated_rows"] == 2


@pytest.mark.parametrize("name", ["train.jsonl", "valid.jsonl"])
def test_the_files_of_a_folder_have_mlx_lms_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    write_rows(folder / "train.jsonl", ROWS)
    write_rows(folder / "valid.jsonl", ROWS[:2])

    run = train(TINY, tmp_path / "out", folder, iterations=1)
    assert run.last["validation_loss"] is not None

    (folder / name).rename(folder / "other.jsonl")
    if name == "train.jsonl":
        with pytest.raises(WireError, match=r"no train\.jsonl"):
            train(TINY, tmp_path / "out", folder, iterations=1)
    else:
        run = train(TINY, tmp_path / "out", folder, iterations=1)
        assert run.last["validation_loss"] is None


def test_a_share_of_the_rows_is_kept_for_the_validation(tmp_path: Path) -> None:
    run = train(TINY, tmp_path / "out", validation=0.25, iterations=1)

    assert run.last["rows"] == 6
    assert run.last["validation_loss"] is not None


def test_a_share_that_leaves_no_row_is_refused(tmp_path: Path) -> None:
    error = refused(TINY, tmp_path / "out", ROWS[:1], validation=0.9)

    assert error.data["field"] == "validation"


def rows_of(count: int) -> list[Row]:
    return [Row(np.array([number + 1] * 3, np.int32), 0, False) for number in range(count)]


def test_each_epoch_has_each_group_once_in_an_order_of_the_seed() -> None:
    batches = Batches(rows_of(12), 2, 2, seed=1, longest=8)

    epochs = [
        [
            tuple(b.ids[:, 0].tolist())
            for step in range(3)
            for b in batches.of_step(3 * e + step)
        ]
        for e in range(4)
    ]

    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert any(epoch != epochs[0] for epoch in epochs)
    again = Batches(rows_of(12), 2, 2, seed=1, longest=8)
    assert [tuple(b.ids[:, 0].tolist()) for b in again.of_step(9)] == epochs[3][:2]


def test_no_row_is_left_out_of_all_epochs() -> None:
    batches = Batches(rows_of(9), 4, 1, seed=0, longest=8)

    seen = {
        number for step in range(8) for number in batches.of_step(step)[0].ids[:, 0].tolist()
    }

    assert seen == set(range(1, 10))


def test_the_padding_is_learned_only_where_that_is_asked() -> None:
    rows = rows_of(2)

    assert make_batch(rows, 64, learns_end=False).targets == 4
    assert make_batch(rows, 64, learns_end=True).targets == 6
    assert make_batch(rows, 3, learns_end=True).targets == 4
