"""The perplexity before and after, and the recipe that measures the layers on a text."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from mlx.nn.losses import cross_entropy
from mlx_lm.utils import load_model
from tokenizers import Tokenizer

from mlxwire_protocol import WireError
from support.conversion import config_of, converted, recorded
from support.model_worker import Models

WORDS = "The weather in Paris is fine today, and the cat sits by the window.\n"


def write(tmp_path: Path, lines: int) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(WORDS * lines)
    return file


def expected(folder: Path, text: str) -> float:
    """Return the perplexity of a text in one piece, by mlx-lm's model."""
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    model = load_model(folder)[0]
    model.set_dtype(mx.float32)
    losses = cross_entropy(model(mx.array([ids[:-1]])), mx.array([ids[1:]]))
    return float(mx.exp(losses.mean()).item())


def test_it_is_that_of_the_text_before_and_after(models: Models, tmp_path: Path) -> None:
    text = write(tmp_path, 3)

    result = converted(models("qwen3"), tmp_path / "out", mode="mxfp4", text=text)

    for folder, name in ((models("qwen3"), "before"), (tmp_path / "out", "after")):
        told = result[f"perplexity_{name}"]
        assert told == pytest.approx(expected(folder, text.read_text()), rel=1e-3)
    assert result["perplexity_before"] != result["perplexity_after"]


def test_a_long_text_is_read_in_windows_whose_tokens_all_count(
    models: Models, tmp_path: Path
) -> None:
    text = write(tmp_path, 60)
    ids = Tokenizer.from_file(str(models("qwen3") / "tokenizer.json")).encode(text.read_text())
    assert len(ids) > 2 * 512
    events: list[tuple[object, ...]] = []

    result = recorded(models("qwen3"), tmp_path / "out", events, text=text)

    assert result["text_tokens"] == len(ids) - 1
    assert result["perplexity_after"] == pytest.approx(result["perplexity_before"], rel=1e-6)
    count = -(-(len(ids) - 1) // 512)
    for stage in ("perplexity before", "perplexity after"):
        assert (stage, count, count) in events


def test_without_a_text_there_is_none(models: Models, tmp_path: Path) -> None:
    result = converted(models("qwen3"), tmp_path / "out", bits=4)

    assert result["perplexity_before"] is result["perplexity_after"] is None
    assert result["text_tokens"] is None


def test_the_dynamic_recipe_gives_more_bits_to_layers_that_need_them(
    models: Models, tmp_path: Path
) -> None:
    events: list[tuple[object, ...]] = []
    form = {"bits": 3, "group_size": 32, "target_bits": 5.4}

    result = recorded(
        models("qwen3"),
        tmp_path / "out",
        events,
        mixed="dynamic",
        text=write(tmp_path, 30),
        **form,
    )

    forms = config_of(tmp_path / "out")["quantization"]
    more = {form["bits"] for form in forms.values() if isinstance(form, dict)}
    assert (forms["bits"], more) == (3, {4})
    assert result["bits_per_weight"] == pytest.approx(5.4, abs=0.3)
    assert "sensitivities" in {event[0] for event in events}
    load_model(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"target_bits": 9.0}, "target_bits"),
        ({"bits": 8}, "bits"),
        ({}, "text"),
        ({"group_size": 128}, "group_size"),
    ],
    ids=["target", "no more bits", "short text", "group"],
)
def test_what_the_dynamic_recipe_can_not_take_is_refused(
    models: Models, tmp_path: Path, options: dict[str, float], field: str
) -> None:
    text = write(tmp_path, 3)

    with pytest.raises(WireError) as refused:
        converted(models("qwen3"), tmp_path / "out", mixed="dynamic", text=text, **options)

    assert (refused.value.code, refused.value.field) == ("invalid_params", field)
    assert not (tmp_path / "out").exists()
