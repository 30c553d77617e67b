"""An encoder on the wire: loads in place of a causal model, and what it refuses."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from factories.encoders import build_encoder
from support.model_worker import Models, ModelWorker

TEXTS = ["The cat sat on the mat.", "a dog", "not " * 60, "is a cat"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder("bert", tmp_path_factory.mktemp("encoder"))


def items(worker: ModelWorker, cmd: str, **fields: Any) -> tuple[list[Any], Any]:
    """Return the items by index, and the final."""
    request = worker.send(cmd, **fields)
    done = worker.final(request)
    found = [m for m in worker.messages[request] if m["type"] == "item"]
    return sorted(found, key=lambda item: item["index"]), done


def test_each_text_has_an_item_and_a_long_one_its_error(
    worker: ModelWorker, encoder: Path
) -> None:
    found, done = items(worker.use(encoder), "embed", texts=TEXTS)

    assert done["type"] == "done", done
    assert [item["index"] for item in found] == [0, 1, 2, 3]
    assert found[2]["error"]["code"] == "context_overflow"
    assert [len(item["embedding"]) for item in found if "embedding" in item] == [32] * 3
    assert found[0]["tokens"] == 9


def test_an_empty_text_fails_alone(worker: ModelWorker, encoder: Path) -> None:
    found, done = items(worker.use(encoder), "embed", texts=["a dog", "", [], "a dog", " "])

    assert done["type"] == "done", done
    for place, unit in ((1, "character"), (2, "token id")):
        assert found[place]["error"] == {
            "code": "invalid_params",
            "message": f"`texts[{place}]` is empty; give at least 1 {unit}",
            "retryable": False,
            "data": {"field": f"texts[{place}]"},
        }
    assert found[0]["embedding"] == pytest.approx(found[3]["embedding"], abs=1e-6)
    assert found[4]["tokens"] == 2  # the marks around no word


def test_base64_has_the_same_numbers(worker: ModelWorker, encoder: Path) -> None:
    worker.use(encoder)
    numbers, _ = items(worker, "embed", texts=TEXTS[:2])

    packed, _ = items(worker, "embed", texts=TEXTS[:2], encoding_format="base64")

    for one, other in zip(numbers, packed, strict=True):
        found = np.frombuffer(base64.b64decode(other["embedding"]), "<f4")
        np.testing.assert_array_equal(found, np.array(one["embedding"], "<f4"))


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("generate", {"prompt": "x"}),
        ("chat", {"messages": [{"role": "user", "content": "x"}]}),
        ("batch", {"prompts": ["x"]}),
        ("classify", {"prompts": ["x"]}),
        ("score", {"texts": ["x"]}),
        ("render", {"messages": [{"role": "user", "content": "x"}]}),
        ("inspect", {"prompt": "x", "path": "x.safetensors"}),
        ("cache", {"action": "stats"}),
        ("adapter", {"action": "list"}),
        ("train", {"data": "x", "out": "y"}),
        ("evaluate", {"data": "x"}),
    ],
)
def test_commands_of_causal_models_are_refused_by_name(
    worker: ModelWorker, encoder: Path, command: str, fields: Any
) -> None:
    error = worker.use(encoder).refusal(command, **fields)

    assert error["code"] == "unsupported_capability", error
    assert error["data"]["missing"] == [command]
    assert f"`{command}`" in error["message"]
    assert worker.ask("info")["capabilities"][command] is False


def test_texts_become_tokens_and_back(worker: ModelWorker, encoder: Path) -> None:
    worker.use(encoder)

    told = worker.ask("tokenize", text="a dog")

    assert worker.ask("detokenize", ids=told["ids"])["text"] == "[CLS] a dog [SEP]"


def test_an_encoder_and_a_causal_model_take_turns(
    worker: ModelWorker, models: Models, encoder: Path
) -> None:
    before = worker.use(models("qwen3")).generate("Hello", max_tokens=4)
    worker.use(encoder)
    assert worker.ask("memory")["active_bytes"] > 0
    first, _ = items(worker, "embed", texts=TEXTS[:2])

    again = worker.use(models("qwen3")).generate("Hello", max_tokens=4)
    second, _ = items(worker.use(encoder), "embed", texts=TEXTS[:2])

    assert again == before
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one["embedding"], other["embedding"], atol=1e-6)
    worker.ask("unload")
    worker._loaded = ()
    assert worker.refusal("embed", texts=["x"])["code"] == "model_not_loaded"


@pytest.mark.parametrize(
    ("field", "value"),
    [("kv_bits", 8), ("context_policy", "rotate"), ("context_len", 41)],
)
def test_options_of_sequences_are_refused_at_a_load(
    worker: ModelWorker, encoder: Path, field: str, value: Any
) -> None:
    error = worker.refusal("load", path=str(encoder), warmup=False, **{field: value})

    assert (error["code"], error["data"]["field"]) == ("invalid_params", field)


def test_options_without_effect_are_warnings(worker: ModelWorker, encoder: Path) -> None:
    result = worker.load(str(encoder), parallel_slots=4, prompt_cache_limit=1)
    worker._loaded = ()

    told = " ".join(result["warnings"])
    assert "`parallel_slots` has no effect" in told
    assert "`prompt_cache_limit` has no effect" in told


def test_limits_of_sequences_are_refused(worker: ModelWorker, encoder: Path) -> None:
    error = worker.use(encoder).refusal("memory", memory_limit=1 << 30)

    assert (error["code"], error["data"]["field"]) == ("invalid_params", "memory_limit")


def test_an_adapter_is_refused(worker: ModelWorker, encoder: Path) -> None:
    error = worker.use(encoder).refusal("embed", texts=["x"], adapter="mine")

    assert (error["code"], error["data"]["missing"]) == ("unsupported_capability", ["adapter"])


def _nan(path: Path) -> None:
    stored: Any = mx.load(str(path / "model.safetensors"))
    name = "encoder.layer.1.output.dense.weight"
    stored[name] = mx.full(stored[name].shape, mx.nan)
    mx.save_safetensors(str(path / "model.safetensors"), stored)


def _without_a_tensor(path: Path) -> None:
    stored: Any = mx.load(str(path / "model.safetensors"))
    del stored["encoder.layer.1.output.dense.weight"]
    mx.save_safetensors(str(path / "model.safetensors"), stored)


def _with_another_tensor(path: Path) -> None:
    stored: Any = mx.load(str(path / "model.safetensors"))
    stored["encoder.layer.7.output.dense.weight"] = mx.zeros((2, 2))
    mx.save_safetensors(str(path / "model.safetensors"), stored)


def _set(**settings: Any) -> Any:
    def edit(path: Path) -> None:
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, **settings}))

    return edit


@pytest.mark.parametrize(
    ("damage", "code", "reason"),
    [
        (_nan, "model_load_failed", "damaged_weights"),
        (_without_a_tensor, "model_load_failed", "weights_do_not_fit"),
        (_with_another_tensor, "model_load_failed", "weights_do_not_fit"),
        (_set(hidden_size=64), "model_load_failed", "weights_do_not_fit"),
        (_set(hidden_size=None), "model_load_failed", "incomplete_config"),
        (_set(num_attention_heads=5), "model_load_failed", "invalid_config"),
        (_set(num_hidden_layers=9_999_999), "model_load_failed", "weights_do_not_fit"),
        (_set(hidden_act="mish"), "unsupported_model", "unsupported_setting"),
        (_set(is_decoder=True), "unsupported_model", "unsupported_setting"),
        (
            _set(position_embedding_type="relative_key"),
            "unsupported_model",
            "unsupported_setting",
        ),
    ],
)
def test_a_broken_encoder_is_one_typed_error(
    worker: ModelWorker, tmp_path: Path, damage: Any, code: str, reason: str
) -> None:
    path = build_encoder("bert", tmp_path / "broken")
    damage(path)

    error = worker.refusal("load", path=str(path), warmup=False)

    assert (error["code"], error["data"]["reason"]) == (code, reason), error


def test_vectors_and_generations_take_turns(worker: ModelWorker, models: Models) -> None:
    worker.use(models("qwen3"))
    alone = worker.generate("Once", max_tokens=30)
    generating = worker.send("generate", prompt="Once", max_tokens=30)
    embedding = worker.send("embed", texts=["word " * 9] * 40, pooling="mean", window=40)

    done, vectors = worker.final(generating), worker.final(embedding)

    assert (done["type"], vectors["type"]) == ("done", "done")
    assert worker.text(generating) == alone[0]


def test_a_cancelled_embed_ends_and_the_next_one_is_whole(
    worker: ModelWorker, encoder: Path
) -> None:
    worker.use(encoder)
    request = worker.send("embed", texts=["a cat " * 12] * 4000, window=8)
    worker.until(lambda message: message["type"] == "item", request)

    worker.ask("cancel", target=request)

    final = worker.final(request)
    assert final["finish_reason"] == "cancelled"
    found, _ = items(worker, "embed", texts=TEXTS[:2])
    assert len(found) == 2


def test_a_deadline_ends_an_embed(worker: ModelWorker, encoder: Path) -> None:
    worker.use(encoder)
    request = worker.send("embed", texts=["a dog"] * 99, window=1, deadline_seconds=0.2)

    final = worker.final(request)

    assert (final["type"], final["error"]["code"]) == ("error", "deadline_exceeded")
