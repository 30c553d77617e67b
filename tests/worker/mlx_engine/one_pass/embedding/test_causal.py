"""Vectors of causal models: the states before the head, against mlx-lm's own module alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from factories import FAMILIES, build_adapter
from factories.vector_models import INSTRUCTED, build_vector_model
from mlxwire_protocol import WireError
from support.encoder_reference import pooled
from support.model_worker import Models
from support.reference import reference
from support.tiny_model import TINY, needs_tiny
from support.vectors import Vectors

TEXTS = ["The cat sat on the mat.", "a dog", "What is the capital of China?" * 9, " "]
END = "<|endoftext|>"


def states(path: Path, ids: list[int]) -> np.ndarray[Any, Any]:
    """Return the states [T, D] behind the last norm, by one pass of mlx-lm's module."""
    found = reference(path).model.model(mx.array([ids]))[0]
    return np.array(found.astype(mx.float32)).astype(np.float64)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["mean", "last", "first", "max"])
def test_any_causal_model_gives_the_states_before_its_head(
    vectors: Vectors, models: Models, family: str, pooling: str
) -> None:
    path = models(family)
    if vectors.engine.model is None or vectors.engine.model.path != str(path):
        vectors.load(path)

    found = vectors.embed(*TEXTS, pooling=pooling)

    ids = [reference(path).tokenizer.encode(text) for text in TEXTS]
    wanted = [pooled(states(path, each), pooling, normalize=False) for each in ids]
    np.testing.assert_allclose(found, wanted, atol=2e-4, rtol=1e-4)
    assert vectors.info.pooling is None
    assert vectors.info.capabilities["embed"] is True


@pytest.mark.parametrize("tied", [True, False])
def test_a_bare_trunk_gives_the_vectors_of_the_whole_model(
    vectors: Vectors, models: Models, tmp_path: Path, tied: bool
) -> None:
    source = models("qwen3" if tied else "llama3")
    path = build_vector_model(source, tmp_path / "bare")
    head = json.loads((source / "config.json").read_text()).get("tie_word_embeddings", False)
    wanted = vectors.load(source).embed(*TEXTS, pooling="last", normalize=True)

    found = vectors.load(path).embed(*TEXTS)

    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert vectors.info.pooling == "last"
    assert vectors.info.capabilities.get("generate", True) is bool(head)


@pytest.mark.parametrize("command", ["generate", "chat", "batch", "classify", "score", "train"])
def test_a_model_without_a_head_refuses_what_needs_one(
    vectors: Vectors, models: Models, tmp_path: Path, command: str
) -> None:
    path = build_vector_model(
        models("llama3"), tmp_path / "bare", config={"tie_word_embeddings": False}
    )
    vectors.load(path)

    with pytest.raises(WireError, match=f"can't `{command}`") as refusal:
        vectors.engine.check_command(command)

    assert refusal.value.code == "unsupported_capability"
    assert vectors.info.capabilities[command] is False


def test_a_missing_head_of_a_model_that_generates_is_a_broken_folder(
    vectors: Vectors, models: Models, tmp_path: Path
) -> None:
    path = build_vector_model(
        models("llama3"),
        tmp_path / "bare",
        pooling=None,
        config={"tie_word_embeddings": False, "architectures": ["LlamaForCausalLM"]},
    )

    with pytest.raises(WireError) as refusal:
        vectors.load(path)

    assert refusal.value.data["reason"] == "weights_do_not_fit"


def test_a_text_ends_once(vectors: Vectors, models: Models, tmp_path: Path) -> None:
    path = build_vector_model(models("qwen3"), tmp_path / "ends", end=END)
    vectors.load(path)
    number = reference(models("qwen3")).tokenizer.convert_tokens_to_ids(END)

    ids = vectors.prepared(["a dog", f"a dog{END}", f"a dog{END}{END}", f"{END} a dog"]).ids

    assert ids[0][-1] == number != ids[0][-2]
    assert ids[0] == ids[1] == ids[2]
    assert ids[3][-1] == number


def test_an_end_that_only_the_settings_ask_for_is_added(
    vectors: Vectors, models: Models, tmp_path: Path
) -> None:
    path = build_vector_model(models("qwen3"), tmp_path / "asked")
    file = path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"add_eos_token": True}))
    end = reference(models("qwen3")).tokenizer.convert_tokens_to_ids("<|im_end|>")

    ids = vectors.load(path).prepared(["a dog", "a dog<|im_end|>"]).ids

    assert ids[0][-1] == end
    assert ids[0] == ids[1]


def test_token_ids_are_taken_as_they_are(
    vectors: Vectors, models: Models, tmp_path: Path
) -> None:
    path = build_vector_model(models("qwen3"), tmp_path / "ids", end=END)

    assert vectors.load(path).prepared([[5, 6, 7]]).ids == [[5, 6, 7]]


def test_vectors_do_not_depend_on_the_texts_beside_them_or_on_slices(
    vectors: Vectors, models: Models
) -> None:
    vectors.load(models("gemma3"))  # its window is shorter than the longest text
    texts = ["word " * count for count in (50, 3, 7, 1, 20, 6)]
    together = vectors.embed(*texts, pooling="mean", normalize=True)
    alone = [vectors.embed(text, pooling="mean", normalize=True)[0] for text in texts]
    loaded = vectors.engine._loaded
    assert loaded is not None
    loaded.chunk.tokens = 16

    sliced = vectors.embed(texts[0], pooling="mean", normalize=True)[0]

    assert vectors.slices > 1
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(sliced, alone[0], atol=1e-5)


def test_an_adapter_changes_the_vectors_of_its_requests_alone(
    vectors: Vectors, models: Models, tmp_path: Path
) -> None:
    path = models("llama3")
    vectors.load(path)
    plain = vectors.embed(*TEXTS, pooling="mean")
    adapter = build_adapter(path, tmp_path / "adapter")
    vectors.engine.load_adapter("mine", str(adapter))

    adapted = vectors.embed(*TEXTS, pooling="mean", adapter="mine")

    applied = Vectors().load(path, adapter_path=str(adapter))
    np.testing.assert_allclose(adapted, applied.embed(*TEXTS, pooling="mean"), atol=1e-4)
    applied.close()
    assert np.abs(adapted - plain).max() > 0.01
    np.testing.assert_allclose(vectors.embed(*TEXTS, pooling="mean"), plain, atol=1e-5)
    assert vectors.refusal("x", pooling="mean", adapter="other").data["field"] == "adapter"


@needs_tiny
def test_related_texts_of_a_trained_model_are_near(vectors: Vectors) -> None:
    vectors.load(TINY)

    story, other, question = vectors.embed(
        "Tell me a story about a cat.",
        "Tell me a story about a dog.",
        "What is 2 + 3?",
        pooling="mean",
        normalize=True,
    )

    assert story @ other > story @ question


def test_instructions_take_the_form_of_the_folder_s_prompts(
    vectors: Vectors, models: Models, tmp_path: Path
) -> None:
    path = build_vector_model(models("qwen3"), tmp_path / "told", prompts=INSTRUCTED)
    vectors.load(path)
    task, query = "Find jokes", "Why?"

    form = f"Instruct: {task}\nQuery:{query}"
    assert vectors.prepared([query], instruction=task).ids == vectors.prepared([form]).ids
    named = INSTRUCTED["prompts"]["query"] + query  # type: ignore[index]
    assert vectors.prepared([query], prompt_name="query").ids == vectors.prepared([named]).ids
    assert (
        vectors.prepared([query], prompt_name="document").ids == vectors.prepared([query]).ids
    )


def test_a_model_that_sees_later_tokens_is_refused(
    vectors: Vectors, models: Models, tmp_path: Path
) -> None:
    for setting in ({"is_causal": False}, {"use_bidirectional_attention": True}):
        path = build_vector_model(models("qwen3"), tmp_path / str(len(setting)), config=setting)
        with pytest.raises(WireError, match="would be wrong") as refusal:
            vectors.load(path)
        assert refusal.value.code == "unsupported_model"
        shutil.rmtree(path)
