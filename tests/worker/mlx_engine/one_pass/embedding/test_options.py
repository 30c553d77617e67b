"""The options of `embed`: each is honoured, or refused by name with what is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from factories.encoders import build_encoder
from factories.models import write_json
from mlxwire_protocol import WireError
from support.encoder_reference import EncoderReference, pooled
from support.vectors import Vectors

TEXTS = ["The cat sat on the mat.", "a dog"]
PROMPTS = {
    "prompts": {"query": "query: ", "passage": "passage: "},
    "default_prompt_name": "passage",
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder("bert", tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder("bert", tmp_path_factory.mktemp("prompted"), prompts=PROMPTS)


def test_vectors_are_cut_and_then_normalized(vectors: Vectors, plain: Path) -> None:
    whole = vectors.load(plain).embed(*TEXTS, normalize=False)

    cut = vectors.embed(*TEXTS, dimensions=8)

    wanted = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, wanted, atol=1e-5)
    error = vectors.refusal(*TEXTS, dimensions=33)
    assert (error.code, error.data["field"]) == ("invalid_params", "dimensions")
    assert "at most 32" in error.message


def test_only_listed_widths_are_accepted(vectors: Vectors, tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "m", config={"matryoshka_dimensions": [8, 16]})
    vectors.load(path)

    assert vectors.embed(*TEXTS, dimensions=16).shape == (2, 16)
    assert vectors.embed(*TEXTS, dimensions=32).shape == (2, 32)
    assert "8, 16 numbers" in vectors.refusal(*TEXTS, dimensions=9).message


def test_a_folder_s_own_width_is_the_default(vectors: Vectors, tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "t", prompts={"truncate_dim": 4})

    assert vectors.load(path).embed(*TEXTS).shape == (2, 4)
    assert vectors.embed(*TEXTS, dimensions=32).shape == (2, 32)


def test_normalization_is_the_folder_s_unless_asked(vectors: Vectors, tmp_path: Path) -> None:
    vectors.load(build_encoder("bert", tmp_path / "n", normalize=False))

    raw, unit = vectors.embed(*TEXTS), vectors.embed(*TEXTS, normalize=True)

    assert abs(np.linalg.norm(raw, axis=1) - 1).min() > 0.1
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)


def test_a_model_that_does_not_say_needs_a_pooling(vectors: Vectors, tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "silent", pooling=None)
    truth = EncoderReference(path)
    vectors.load(path)

    error = vectors.refusal(*TEXTS)

    assert (error.code, error.data["field"]) == ("invalid_params", "pooling")
    assert "mean, last, first, max" in error.message
    assert vectors.info.pooling is None
    found = vectors.embed(*TEXTS, pooling="first")
    wanted = [pooled(truth.states(truth.ids(t)), "cls", normalize=False) for t in TEXTS]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_prompts_come_before_each_text(vectors: Vectors, prompted: Path) -> None:
    vectors.load(prompted)

    def ids(**options: Any) -> list[int]:
        return vectors.prepared(["a dog"], **options).ids[0]

    bare = ids(instruction="")
    assert ids() == ids(prompt_name="passage") == ids(instruction="passage: ") != bare
    assert ids(prompt_name="query") == ids(instruction="query: ") != ids()
    given = vectors.prepared([bare]).ids[0]
    assert given == bare  # token ids get no prompt


@pytest.mark.parametrize(
    ("texts", "options", "field", "told"),
    [
        (["x"], {"prompt_name": "other"}, "prompt_name", "'query', 'passage'"),
        (["x"], {"prompt_name": "query", "instruction": "x"}, "prompt_name", "both given"),
        (["x", [5]], {"instruction": "x"}, "instruction", "`texts[1]` is a list of token ids"),
        ([[5]], {"prompt_name": "query"}, "prompt_name", "taken as it is"),
        ([[5, 999]], {}, "texts[0][1]", "give token ids from 0 to"),
    ],
)
def test_options_that_can_not_be_honoured_are_refused(
    vectors: Vectors, prompted: Path, texts: Any, options: Any, field: str, told: str
) -> None:
    error = vectors.load(prompted).refusal(*texts, **options)

    assert (error.code, error.data["field"]) == ("invalid_params", field)
    assert told in error.message


def test_a_prompt_can_be_left_out_of_the_pooling(vectors: Vectors, tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "p", prompts=PROMPTS, normalize=False)
    pooling = path / "1_Pooling" / "config.json"
    write_json(pooling, json.loads(pooling.read_text()) | {"include_prompt": False})
    truth = EncoderReference(path)
    states = truth.states(truth.ids("passage: a dog"))

    found = vectors.load(path).embed("a dog")[0]

    np.testing.assert_allclose(found, states[3:].mean(axis=0), atol=1e-4)


def test_a_text_that_is_too_long_fails_alone(vectors: Vectors, tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "long", limits={"max_seq_length": 8})
    vectors.load(path)

    texts = vectors.prepared(["cat " * 6, "cat " * 7, [5] * 8, [5] * 9])

    assert [len(ids) for ids in texts.ids] == [8, 0, 8, 0]
    assert {n: error.code for n, error in texts.failed.items()} == {
        1: "context_overflow",
        3: "context_overflow",
    }
    assert texts.failed[1].data == {
        "field": "texts[1]",
        "prompt_tokens": 9,
        "context_len": 8,
    }
    assert vectors.info.context_len == 8


def test_the_context_can_be_as_long_as_the_positions(vectors: Vectors, tmp_path: Path) -> None:
    path = build_encoder("roberta", tmp_path / "wide", limits={"max_seq_length": 8})

    vectors.load(path, context_len=38)  # 40 positions, which are counted from 2

    assert np.isfinite(vectors.embed([5] * 38)).all()
    with pytest.raises(WireError, match="the model has 38 positions") as refusal:
        vectors.load(path, context_len=39)
    assert refusal.value.data["field"] == "context_len"


def test_dense_layers_are_computed(vectors: Vectors, tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "dense", normalize=False)
    modules = json.loads((path / "modules.json").read_text())
    weight = mx.random.normal((6, 32), key=mx.random.key(1))
    bias = mx.random.normal((6,), key=mx.random.key(2))
    (path / "2_Dense").mkdir()
    tensors = {"linear.weight": weight, "linear.bias": bias}
    mx.save_safetensors(str(path / "2_Dense" / "model.safetensors"), tensors)
    write_json(
        path / "2_Dense" / "config.json",
        {
            "in_features": 32,
            "out_features": 6,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        },
    )
    dense = {"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    last = {"idx": 3, "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}
    (path / "modules.json").write_text(json.dumps([*modules, dense, last]))
    truth = EncoderReference(path)

    found = vectors.load(path).embed(*TEXTS)

    for vector, text in zip(found, TEXTS, strict=True):
        wanted = np.tanh(
            np.array(weight) @ truth.states(truth.ids(text)).mean(axis=0) + np.array(bias)
        )
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-4)
    assert "at most 6" in vectors.refusal(*TEXTS, dimensions=7).message


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"modules.json": ["Transformer", "Normalize"]}, "begins with Transformer, Normalize"),
        ({"modules.json": ["StaticEmbedding", "Normalize"]}, "StaticEmbedding"),
        ({"modules.json": ["Transformer", "Pooling", "CNN"]}, "'CNN'"),
        ({"1_Pooling/config.json": {"pooling_mode": ["mean", "max"]}}, "several poolings"),
        ({"1_Pooling/config.json": {"pooling_mode": "attention"}}, "'attention'"),
    ],
)
def test_modules_that_are_not_computed_are_refused_by_name(
    vectors: Vectors, tmp_path: Path, edit: dict[str, Any], told: str
) -> None:
    path = build_encoder("bert", tmp_path / "other")
    for name, value in edit.items():
        if name == "modules.json":
            value = [
                {"idx": n, "path": f"{n}_{kind}" if n else "", "type": f"a.b.{kind}"}
                for n, kind in enumerate(value)
            ]
        (path / name).write_text(json.dumps(value))

    with pytest.raises(WireError, match=told) as refusal:
        vectors.load(path)

    assert refusal.value.code == "unsupported_model"
    assert refusal.value.data["reason"] == "embedding"


@pytest.mark.parametrize("mode", ["lasttoken", "cls", "max"])
def test_the_newer_form_of_a_pooling_is_read(
    vectors: Vectors, tmp_path: Path, mode: str
) -> None:
    path = build_encoder("bert", tmp_path / mode)
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}))

    vectors.load(path)

    assert vectors.info.pooling == {"lasttoken": "last", "cls": "first"}.get(mode, mode)


def test_texts_are_lower_cased_where_the_folder_says_so(
    vectors: Vectors, tmp_path: Path
) -> None:
    path = build_encoder("roberta", tmp_path / "low", limits={"do_lower_case": True})
    vectors.load(path)

    assert vectors.prepared(["THE CAT"]).ids == vectors.prepared(["the cat"]).ids
