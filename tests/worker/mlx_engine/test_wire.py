"""A real worker over real models: storms, poison, batches, classify, memory, all through the pipe."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm import load as mlx_load

from support.conversation import Message
from support.driver import Driver

Models = Callable[..., Path]


@pytest.fixture(scope="module")
def worker(models: Models) -> Iterator[Driver]:
    with Driver() as driver:
        driver.hello()
        driver.load(str(models("llama3")), warmup=False, context_len=512)
        yield driver


def answer(worker: Driver, request: str) -> tuple[str, Any, list[int]]:
    final = worker.final(request)
    ids = [m["token_id"] for m in worker.messages[request] if m["type"] == "token"]
    return worker.text(request), final.get("finish_reason"), ids


NO_IDS = ("1.5", "01", "00", " 1", "1 ", "1\n", "+1", "1_0", "0x1", "¹", "")

POISON: list[dict[str, Any]] = [
    {"prompt": "x", "top_k": 10**6},
    {"prompt": "x", "stop_tokens": [10**6]},
    {"prompt": "x", "stop_tokens": [-1]},
    {"prompt": "x", "logit_bias": {"1000000": 1.0}},
    {"prompt": "x", "logit_bias": {"-1": 1.0}},
    {"prompt": "x", "logit_bias": {"٣": 1.0}},
    *({"prompt": "x", "logit_bias": {name: 1.0, "1": 1.0}} for name in NO_IDS),
    {"prompt": "x", "logit_bias": {"1": 1000.0}},
    {"prompt": ""},
    {"prompt": "word " * 600},
    {"prompt": "x", "temperature": -1},
    {"prompt": "x", "temperature": "NaN"},
    {"prompt": "x", "min_p": 1.5},
    {"prompt": "x", "xtc_threshold": 0.7, "xtc_probability": 0.5},
    {"prompt": "x", "top_p": 2},
    {"prompt": "x", "top_logprobs": 3},
    {"prompt": "x", "logprobs": True, "top_logprobs": 65},
    {"prompt": "x", "penalty_window": 1},
    {"prompt": "x", "repeat_penalty": -1},
    {"prompt": "x", "seed": -1},
    {"prompt": "x", "stop": [""]},
    {"prompt": "x", "max_tokens": -1},
    {"prompt": "x", "window": 0},
    {"prompt": "x", "deadline_seconds": 0},
]


def test_poisonous_requests_among_good_ones_are_typed_errors_and_change_nothing(
    worker: Driver,
) -> None:
    good = [
        {"prompt": f"{'many words ' * n}{n}", "max_tokens": 20, "seed": n, "temperature": n % 2}
        for n in range(16)
    ]
    alone = [answer(worker, worker.send("generate", cache=False, **one)) for one in good]
    past = worker.ask("info")["vocab_size"]
    edges: list[dict[str, Any]] = [
        {"prompt": "x", "top_k": past + 1},
        {"prompt": "x", "stop_tokens": [past]},
        {"prompt": "x", "logit_bias": {str(past): 1.0}},
    ]
    poison = [*POISON, *edges]
    bad, asked = iter(poison), []
    ids = []
    for one in good:
        ids.append(worker.send("generate", **one))
        asked += [worker.send("generate", **fields) for fields in itertools.islice(bad, 3)]
    for literal in (b"NaN", b"Infinity", b"1e999"):
        line = b'{"id":"%s","cmd":"generate","prompt":"x","temperature":%s}\n'
        worker.write(line % (literal, literal))

    assert [answer(worker, request) for request in ids] == alone
    for request, fields in zip(asked, poison, strict=True):
        error = worker.final(request)["error"]
        assert error["code"] in ("invalid_params", "context_overflow"), (fields, error)
        named = error["data"]["field"].split(".")[0].split("[")[0]
        assert named in fields, (fields, error)


def test_the_wildest_values_that_are_allowed_end_well_together(worker: Driver) -> None:
    wild: list[dict[str, Any]] = [
        {"temperature": 100, "top_k": 640},
        {"temperature": 1e-300},
        {"temperature": 1, "top_p": 1e-300, "min_p": 1e-300},
        {"temperature": 1, "min_p": 1.0, "top_p": 1e-9, "top_k": 1},
        {"temperature": 100, "xtc_probability": 1.0, "xtc_threshold": 0.0},
        {"temperature": 1, "xtc_probability": 1.0, "xtc_threshold": 0.0, "top_k": 1},
        {"repeat_penalty": 1000, "presence_penalty": 100, "frequency_penalty": 100},
        {"repeat_penalty": 0.001, "presence_penalty": -100, "frequency_penalty": -100},
        {"logit_bias": {str(n): -100.0 for n in range(600)}},
        {"min_tokens": 2**53 - 1, "stop_tokens": list(range(600))},
        {"max_tokens": 2**53 - 1, "penalty_window": 2**53 - 1, "presence_penalty": 1},
        {"logprobs": True, "top_logprobs": 64, "logit_bias": {"3": 100.0}},
        {"max_tokens": 0},
        {"max_tokens": 0, "logprobs": True, "top_logprobs": 2},
    ]
    ids = [
        worker.send("generate", prompt="wild", **{"max_tokens": 12, **options})
        for options in wild
    ]

    for request, options in zip(ids, wild, strict=True):
        assert worker.final(request)["type"] == "done", options
    assert worker.final(ids[-2])["tokens_generated"] == 0


def test_two_thousand_requests_with_random_cancels_each_end_once(worker: Driver) -> None:
    dice = random.Random(5)
    waiting: list[str] = []
    cancelled: set[str] = set()
    for number in range(2000):
        kind = dice.random()
        fields: dict[str, Any] = {"max_tokens": dice.choice([0, 1, 2, 6])}
        if dice.random() < 0.1:
            fields["window"] = 1
        if kind < 0.8:
            fields["prompt"] = f"{'w ' * dice.randrange(1, 5)}{number % 40}"
            waiting.append(worker.send("generate", **fields))
        elif kind < 0.9:
            fields["prompts"] = ["a", f"b {number}"]
            waiting.append(worker.send("batch", **fields))
        else:
            waiting.append(worker.send("classify", prompts=["c d", "e"]))
        if dice.random() < 0.3:
            cancelled.add(dice.choice(waiting[-20:]))
            worker.send("cancel", target=dice.choice([*cancelled]))
        while number % 20 == 0 and not worker.silent_for(0):
            worker.receive()
    for request in waiting:
        if not worker.finals(request) and any(
            m["type"] in ("token", "item") for m in worker.messages[request]
        ):
            worker.send("credit", target=request, n=10**6)
    worker.send("cancel")  # what is held by a window, and whatever else there is

    finals = [worker.final(request, 60) for request in waiting]

    # `receive` fails on whatever comes after a final.
    assert len({final["id"] for final in finals}) == 2000
    assert {final["type"] for final in finals} <= {"done", "error"}
    metrics = worker.ask("metrics")
    assert (metrics["in_flight"], metrics["queued"], metrics["errors"] >= 0) == (0, 0, True)
    codes = {f["error"]["code"] for f in finals if f["type"] == "error"}
    assert codes <= {"invalid_params"}, codes


# -- batch ---------------------------------------------------------------------------


def test_a_batch_is_what_its_prompts_are_alone(worker: Driver) -> None:
    prompts = [f"{'word ' * (n % 7)}{n}" for n in range(40)]
    prompts[5] = "too long " * 400
    options = {"max_tokens": 7, "temperature": 0.8, "seed": 3}
    done = worker.ask("batch", prompts=prompts, **options)

    got = {m["index"]: m for m in worker.messages[done["id"]] if m["type"] == "item"}
    assert got[5]["error"]["code"] == "context_overflow"
    assert got[5]["error"]["data"]["field"] == "prompts[5]"
    for index in (0, 1, 13, 39):
        text, reason, ids = answer(
            worker, worker.send("generate", prompt=prompts[index], **options)
        )
        assert (got[index]["text"], got[index]["finish_reason"]) == (text, reason)
        assert got[index]["token_ids"] == ids[: got[index]["tokens_generated"]]


def test_a_batch_tells_what_it_reused(worker: Driver) -> None:
    start = "the very same beginning of many words, again and again and again and again " * 3
    done = worker.ask("batch", prompts=[f"{start}{n}" for n in range(16)], max_tokens=1)

    metrics = done["metrics"]
    assert metrics["prompt_tokens"] - metrics["cached_tokens"] < metrics["prompt_tokens"] / 8


# -- classify ------------------------------------------------------------------------

LABELS = ["yes", " no", " perhaps tomorrow", "x"]


def oracle(model: Any, ids: list[int], labels: list[list[int]]) -> tuple[Any, dict[int, float]]:
    """Return the next token's float32 row by one pass, and each label's probability."""

    def rows(tokens: list[int]) -> np.ndarray[Any, Any]:
        return np.array(model(mx.array(tokens)[None])[0].astype(mx.float32)).astype(np.float64)

    scores = []
    for label in labels:
        out = rows(ids + label)
        logprobs = out - np.log(np.exp(out).sum(axis=-1, keepdims=True))
        scores.append(sum(logprobs[len(ids) - 1 + n, token] for n, token in enumerate(label)))
    weights = np.exp(np.array(scores) - max(scores))
    return rows(ids)[-1], dict(enumerate(weights / weights.sum()))


@pytest.mark.parametrize("family", ["llama3", "gemma3"])
def test_classify_in_groups_is_what_full_passes_say(
    worker: Driver, models: Models, family: str
) -> None:
    worker.load(str(models(family)), warmup=False)
    model, tokenizer = mlx_load(str(models(family)))
    dice = random.Random(2)
    prompts = [
        " ".join(dice.choices(["a", "rain", "Paris", "23"], k=k))
        for k in [1, 1, 2, 3, 5, 8, 30, 31, 90, 300]
    ]
    done = worker.ask("classify", prompts=prompts, logits=True, labels=LABELS)

    got = {m["index"]: m for m in worker.messages[done["id"]] if m["type"] == "item"}
    assert set(got) == set(range(len(prompts)))
    bos = tokenizer.bos_token
    label_ids = [tokenizer.encode(label, add_special_tokens=False) for label in LABELS]
    assert max(map(len, label_ids)) > 1
    for index, prompt in enumerate(prompts):
        ids = tokenizer.encode(prompt, add_special_tokens=bos is not None)
        row, labels = oracle(model, ids, label_ids)
        item = got[index]
        np.testing.assert_allclose(item["logits"], row, atol=2e-4)
        assert item["token_id"] == int(row.argmax())
        expected = row.max() - np.log(np.exp(row).sum())
        assert item["logprob"] == pytest.approx(expected, abs=1e-4)
        assert sum(item["labels"].values()) == pytest.approx(1)
        for number, label in enumerate(LABELS):
            assert item["labels"][label] == pytest.approx(labels[number], abs=1e-4)


def test_a_classify_can_be_cancelled_between_its_groups(worker: Driver) -> None:
    request = worker.send("classify", prompts=[f"prompt number {n}" for n in range(5000)])
    worker.until(lambda m: m["type"] == "item", request)
    worker.send("cancel", target=request)

    final: Message = worker.final(request)

    assert final["finish_reason"] == "cancelled"
    assert len(worker.messages[request]) < 2500


# -- memory --------------------------------------------------------------------------


def test_memory_tells_plausible_figures_sets_limits_and_unload_gives_it_back(
    worker: Driver, models: Models
) -> None:
    path = models("tiny")
    loaded = worker.load(str(path), warmup=False, prompt_cache_limit=10**8)
    # 6 layers, 5 heads of 32, keys and values, in the dtype of the model.
    per_token = 6 * 5 * 32 * 2 * {"float32": 4, "bfloat16": 2}[loaded["compute_dtype"]]
    empty = worker.ask("memory")
    assert empty["bytes_per_token"] == per_token
    assert loaded["weight_bytes"] <= empty["active_bytes"] < loaded["weight_bytes"] + 10**6
    assert (empty["prompt_cache_bytes"], empty["sequence_bytes"]) == (0, 0)
    assert empty["prompt_cache_limit"] == 10**8

    request = worker.send(
        "generate", prompt="Tell me a story " * 100, max_tokens=4000, ignore_eos=True
    )
    worker.first_token(request)
    running = worker.ask("memory")
    assert running["sequence_bytes"] >= 400 * per_token
    assert running["active_bytes"] >= loaded["weight_bytes"] + running["sequence_bytes"]
    worker.send("cancel", target=request)
    worker.final(request)
    after = worker.ask("memory")
    assert after["sequence_bytes"] == 0
    assert after["prompt_cache_bytes"] >= 400 * per_token
    assert after["peak_bytes"] >= running["active_bytes"]

    told = worker.ask(
        "memory",
        memory_limit=10**9,
        prompt_cache_limit=per_token * 256,
        buffer_limit=10**7,
        clear=True,
    )
    assert (told["memory_limit"], told["buffer_limit"]) == (10**9, 10**7)
    assert told["prompt_cache_bytes"] <= told["prompt_cache_limit"] == per_token * 256
    assert told["buffer_bytes"] == 0

    worker.ask("unload")
    gone = worker.ask("memory")
    assert gone["active_bytes"] <= 10**6
    assert gone["buffer_bytes"] <= 10**6
    for field in ("memory_limit", "prompt_cache_limit"):
        error = worker.ask("memory", **{field: 0})["error"]
        assert (error["code"], error["data"]["field"]) == ("invalid_params", field)


def test_a_tiny_memory_limit_refuses_nobody(worker: Driver, models: Models) -> None:
    prompts = [f"{'word ' * 40}{n}" for n in range(12)]
    worker.load(str(models("llama3")), warmup=False)
    alone = [answer(worker, worker.send("generate", prompt=p, max_tokens=9)) for p in prompts]

    worker.load(str(models("llama3")), warmup=False, memory_limit=1)
    ids = [worker.send("generate", prompt=p, max_tokens=9) for p in prompts]

    assert [answer(worker, request) for request in ids] == alone
    assert {worker.final(request)["metrics"]["batch_size"] for request in ids} == {1}


def test_the_prompt_cache_gives_way_before_a_request_waits(
    worker: Driver, models: Models
) -> None:
    loaded = worker.load(str(models("llama3")), warmup=False, prompt_cache_limit=10**9)
    for number in range(6):
        worker.ask("generate", prompt=f"{number} " * 300, max_tokens=1)
    memory = worker.ask("memory")
    held = memory["prompt_cache_bytes"]
    sequence = 40 * memory["bytes_per_token"]
    limit = memory["active_bytes"] + 8 * sequence - held // 2
    assert loaded["weight_bytes"] < limit
    worker.ask("memory", memory_limit=limit)

    ids = [
        worker.send("generate", prompt="short", max_tokens=30, ignore_eos=True)
        for _ in range(4)
    ]
    sizes = {worker.final(request)["metrics"]["batch_size"] for request in ids}

    assert max(sizes) == 4
    assert worker.ask("memory")["prompt_cache_bytes"] < held
