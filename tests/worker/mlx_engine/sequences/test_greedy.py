"""Greedy text and token ids are mlx-lm's own, for every family, through a real worker."""

from __future__ import annotations

import json
import shutil

import pytest

from factories import FAMILIES
from support.model_worker import Models, ModelWorker
from support.reference import reference

VARIANTS = [(family, quantized) for family in FAMILIES for quantized in (False, True)]
NAMES = [f"{family}{'-4bit' if quantized else ''}" for family, quantized in VARIANTS]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the weather in Paris today? Grüße 🚀"},
]
RAW = "The weather in Zürich, 你好, is"


@pytest.mark.parametrize(("family", "quantized"), VARIANTS, ids=NAMES)
def test_a_raw_prompt_continues_as_with_mlx_lm(
    worker: ModelWorker, models: Models, family: str, quantized: bool
) -> None:
    path = models(family, quantized)

    answer = worker.use(path).generate(RAW, max_tokens=64)

    assert answer == reference(path).generate(RAW, 64)


@pytest.mark.parametrize(("family", "quantized"), VARIANTS, ids=NAMES)
def test_a_chat_continues_as_with_mlx_lm_and_the_template_of_transformers(
    worker: ModelWorker, models: Models, family: str, quantized: bool
) -> None:
    path = models(family, quantized)
    truth = reference(path)
    ids = truth.tokenizer.encode(truth.render(MESSAGES), add_special_tokens=False)

    answer = worker.use(path).chat(MESSAGES, max_tokens=64)

    assert answer == truth.generate(ids, 64)


def test_bfloat16_weights_give_mlx_lms_text_too(
    worker: ModelWorker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from factories import build_model

    path = build_model("qwen3", tmp_path_factory.mktemp("bf16"), dtype="bfloat16", shards=2)

    assert worker.use(path).generate(RAW, max_tokens=64) == reference(path).generate(RAW, 64)


def test_a_prompt_longer_than_a_prefill_chunk_continues_as_with_mlx_lm(
    worker: ModelWorker, models: Models
) -> None:
    for family in ("gemma3", "qwen3"):
        path = models(family)
        prompt = " ".join(f"word {number}" for number in range(150))
        assert len(reference(path).encode(prompt)) > 600

        answer = worker.use(path).generate(prompt, max_tokens=16)

        assert answer == reference(path).generate(prompt, 16)


def test_a_prompt_that_begins_with_bos_gets_no_second_one(
    worker: ModelWorker, models: Models
) -> None:
    path = models("llama3")
    bos = reference(path).tokenizer.bos_token

    with_bos = worker.use(path).generate(bos + RAW, max_tokens=24)

    assert with_bos == worker.generate(RAW, max_tokens=24)


def test_control_tokens_in_a_raw_prompt_are_honoured(
    worker: ModelWorker, models: Models
) -> None:
    path = models("qwen3")
    prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    worker.use(path)
    request = worker.send("generate", prompt=prompt, max_tokens=8)

    assert worker.final(request)["metrics"]["prompt_tokens"] == len(
        reference(path).tokenizer.encode(prompt, add_special_tokens=False)
    )
    assert worker.text(request) == reference(path).generate(prompt, 8)[0]


def test_a_token_of_the_hosts_choice_ends_the_text_and_is_not_sent(
    worker: ModelWorker, models: Models
) -> None:
    path = models("qwen3")
    _, ids = worker.use(path).generate(RAW, max_tokens=40)
    stop = ids[20]
    before = ids[: ids.index(stop)]
    request = worker.send("generate", prompt=RAW, max_tokens=40, stop_tokens=[stop])

    final = worker.final(request)

    assert final["finish_reason"] == "stop"
    sent = [m["token_id"] for m in worker.messages[request] if m["type"] == "token"]
    assert sent[: len(before)] == before
    assert final["tokens_generated"] == len(before)


def test_the_models_own_end_of_text_ends_it_unless_it_is_ignored(
    worker: ModelWorker, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, ids = worker.use(models("qwen3")).generate(RAW, max_tokens=40)
    ending = tmp_path_factory.mktemp("ending") / "model"
    shutil.copytree(models("qwen3"), ending)
    config = json.loads((ending / "config.json").read_text())
    config["eos_token_id"] = [config["eos_token_id"], ids[10]]
    (ending / "config.json").write_text(json.dumps(config))
    (ending / "generation_config.json").unlink()

    ended = worker.use(ending).generate(RAW, max_tokens=40)
    ignored = worker.generate(RAW, max_tokens=40, ignore_eos=True)

    assert ended == reference(ending).generate(RAW, 40)
    assert len(ended[1]) < 40
    assert ignored[1] == ids


def test_the_tokenizers_own_end_token_ends_a_text_too(
    worker: ModelWorker, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("own-end") / "model"
    shutil.copytree(models("qwen3"), path)
    _, ids = worker.use(path).generate(RAW, max_tokens=40)
    settings = json.loads((path / "tokenizer_config.json").read_text())
    settings["eos_token"] = reference(path).tokenizer.convert_ids_to_tokens(ids[10])
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    worker.load(str(path))

    assert worker.generate(RAW, max_tokens=40)[1] == ids[: ids.index(ids[10])]


def test_stop_strings_cut_the_text_where_they_begin(
    worker: ModelWorker, models: Models
) -> None:
    text, _ = worker.use(models("qwen3")).generate(RAW, max_tokens=40)
    stop = text[9:14]

    cut, _ = worker.generate(RAW, max_tokens=40, stop=[stop, "never there"])

    assert cut == text[: text.index(stop)]
