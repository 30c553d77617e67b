"""The check of a model at its load: each operation gives the answers of the model alone."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.cache import CacheList, KVCache, RotatingKVCache

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.cache import model_check
from mlxwire_worker.mlx_engine.cache.kv import own_caches
from mlxwire_worker.mlx_engine.cache.model_check import _Trial, check_model
from mlxwire_worker.mlx_engine.cache.policy import CachePolicy
from mlxwire_worker.mlx_engine.cache.prompt_cache import PromptCache
from mlxwire_worker.mlx_engine.cache.verdict import Verdict
from mlxwire_worker.mlx_engine.one_pass.classifying import classify_slice
from mlxwire_worker.mlx_engine.one_pass.groups import Tools
from mlxwire_worker.mlx_engine.one_pass.token_scores import score_slice
from mlxwire_worker.mlx_engine.sequences.prefill import ChunkSize
from mlxwire_worker.mlx_engine.sequences.runner import Runner
from mlxwire_worker.mlx_engine.sequences.warmup import Mute
from mlxwire_worker.passes import Classified, ClassifyPrompts, Endings, Scored, Texts
from mlxwire_worker.process.kept_findings import keep_finding, read_finding
from mlxwire_worker.prompts import (
    Failed,
    Prompt,
    Sampled,
    SamplingParams,
)

VOCABULARY = 100
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 1000,
}
_MAMBA = {
    "state_size": 16,
    "conv_kernel": 4,
    "use_bias": False,
    "use_conv_bias": True,
    "time_step_rank": 8,
}
_MAMBA2 = {
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "ssm_state_size": 16,
    "conv_kernel": 3,
    "n_groups": 4,
    "time_step_limit": (0.01, 10.0),
    "use_bias": True,
    "use_conv_bias": True,
}
_RANKS = {f"{name}_low_rank_dim": 8 for name in ("a", "v", "gate", "decay")}
CONFIGS: dict[str, tuple[dict[str, Any], Verdict]] = {
    "llama": ({"rope_theta": 1000.0}, Verdict(True, True, True)),
    "gemma3_text": (
        {"head_dim": 16, "sliding_window": 12, "sliding_window_pattern": 2},
        Verdict(True, True, True),
    ),
    "rwkv7": ({"norm_eps": 1e-5, "head_dim": 16, **_RANKS}, Verdict(True, False, False)),
    "mamba": (_MAMBA, Verdict(True, False, False)),
    "falcon_mamba": (_MAMBA, Verdict(True, False, False)),
    "mamba2": (
        {**_MAMBA2, "num_heads": 8, "head_dim": 8, "state_size": 16, "layer_norm_epsilon": 1e-5,
         "time_step_rank": "auto", "use_bias": False, "tie_word_embeddings": True},
        Verdict(True, True, False),
    ),
    "nemotron_h": (
        {**_MAMBA2, "attention_bias": False, "mamba_proj_bias": False, "mlp_bias": False,
         "layer_norm_epsilon": 1e-5, "residual_in_fp32": True,
         "hybrid_override_pattern": ["*", "M", "*", "M"]},
        Verdict(True, False, False),
    ),
    "jamba": (
        {"attn_layer_offset": 1, "attn_layer_period": 2, "expert_layer_offset": 1,
         "expert_layer_period": 2, "mamba_d_conv": 4, "mamba_d_state": 16, "mamba_expand": 2,
         "num_experts": 4, "num_experts_per_tok": 2},
        Verdict(True, False, False),
    ),
    "llama4": (
        {"text_config": {**_SIZES, "attention_bias": False, "attention_chunk_size": 8,
         "head_dim": 16, "interleave_moe_layer_step": 2, "intermediate_size_mlp": 64,
         "model_type": "llama4", "num_experts_per_tok": 1, "num_local_experts": 2,
         "rope_scaling": None, "rope_theta": 1000, "use_qk_norm": True}},
        Verdict(False, False, True),
    ),
}  # fmt: skip


def build(name: str) -> Any:
    """Build a model with random weights, large enough that its states matter."""
    module = importlib.import_module(f"mlx_lm.models.{name.replace('falcon_', '')}")
    config = {**_SIZES, **CONFIGS[name][0], "model_type": name}
    model = module.Model(module.ModelArgs.from_dict(config))
    mx.random.seed(7)
    flat: Any = tree_flatten(model.parameters())
    model.load_weights(
        [
            (path, mx.random.normal(array.shape) * 1.5 * array.shape[-1] ** -0.5)
            for path, array in flat
            if array.ndim >= 2 and "A_log" not in path
        ],
        strict=False,
    )
    mx.eval(model.parameters())
    return model


def checked(model: Any, folder: Path | None = None, key: str = "k") -> Verdict:
    return check_model(
        model,
        partial(own_caches, model),
        vocabulary=VOCABULARY,
        elapsed=1e9,
        folder=folder,
        key=key,
    )


def prompt(ids: list[int]) -> Prompt:
    params = SamplingParams(logprobs=True, cache=True)
    return Prompt(
        ids=ids, max_tokens=4, stop_ids=frozenset(), detokenizer=Mute(), params=params
    )


def run(runner: Runner, rows: list[list[int]]) -> list[list[Sampled]]:
    """Run prompts together, and return the tokens of each."""
    prompts = [prompt(ids) for ids in rows]
    for one in prompts:
        runner.add(one)
    taken: dict[Prompt, list[Sampled]] = {one: [] for one in prompts}
    while prompts:
        for result in runner.step():
            assert not isinstance(result, Failed), result
            if isinstance(result, Sampled) and len(taken[result.prompt]) < 4:
                taken[result.prompt].append(result)
        done = [one for one in prompts if len(taken[one]) == 4]
        runner.remove(done)
        prompts = [one for one in prompts if one not in done]
    return list(taken.values())


def held_to_truth(model: Any, ids: list[int], tokens: list[Sampled]) -> None:
    """Hold tokens to the model alone, one pass without an earlier cache for each."""
    for token in tokens:
        logits = model(mx.array([ids]), cache=CachePolicy(model).make())[0, -1]
        truth = logits - mx.logsumexp(logits)
        first, second = mx.sort(truth)[-2:][::-1].tolist()  # type: ignore[union-attr,misc]
        if first - second > 0.005:
            assert token.token_id == int(mx.argmax(truth).item())
        assert token.logprob == pytest.approx(truth[token.token_id].item(), abs=0.002)
        ids = [*ids, token.token_id]


def classified(
    tools: Tools, rows: list[list[int]], labels: dict[str, list[int]]
) -> dict[int, Classified]:
    """Classify prompts in one request, and return the results by their places."""
    endings = [Endings(tuple(map(tuple, labels.values())))] * len(rows)
    work = ClassifyPrompts(ids=rows, labels=list(labels), endings=endings)
    found: dict[int, Classified] = {}
    while len(found) < len(rows):
        found.update(classify_slice(tools, work))
    return found


def scored(tools: Tools, rows: list[list[int]]) -> list[list[float]]:
    """Score texts in one request, and return the log-probabilities of each."""
    work = Texts(ids=rows)
    found: dict[int, Scored] = {}
    while work.unfinished:
        found.update(score_slice(tools, work, vocabulary=8192))
    return [found[place].logprobs for place in range(len(rows))]


ROWS = [[5, 9], [11, 48, 85, 22, 60], [11, 48, 85, 22, 59, *range(30, 45)], [7, 1, 2, 3, 4]]


@pytest.mark.parametrize("name", CONFIGS)
def test_what_the_check_allows_gives_the_answers_of_the_model_alone(name: str) -> None:
    model = build(name)
    policy = CachePolicy(model)
    policy.verdict = checked(model)
    assert policy.verdict == CONFIGS[name][1]

    runner = Runner(model, policy, PromptCache(policy), ChunkSize())
    groups = [ROWS] if policy.batchable else [[row] for row in ROWS]
    answers = list(itertools.chain(*(run(runner, group) for group in groups)))
    for ids, tokens in zip(ROWS, answers, strict=True):
        held_to_truth(model, ids, tokens)

    # A second turn, and branches off it in the middle: all reuse what they can.
    turn = [*ROWS[2], *(token.token_id for token in answers[2]), 3, 4]
    for ids in (turn, [*turn[:14], 50, 51], [*turn[:3], 70]):
        held_to_truth(model, ids, *run(runner, [ids]))

    labels = {"a": [3], "b": [4, 8, 15]}
    tools = Tools(model, policy, str, ChunkSize())
    found = classified(tools, [[1, 2, *ids] for ids in ROWS], labels)
    for place, ids in enumerate(ROWS):
        alone = classified(tools, [[1, 2, *ids]], labels)[0]
        assert found[place].labels == pytest.approx(alone.labels, abs=0.002)

    rows = [[1, 2, *ids] for ids in [*ROWS, ROWS[2][:9], [6]]]
    for ids, logprobs in zip(rows, scored(tools, rows), strict=True):
        logits = model(mx.array([ids]), cache=CachePolicy(model).make())[0].astype(mx.float32)
        truth = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        alone = [truth[place, token].item() for place, token in enumerate(ids[1:])]
        assert logprobs == pytest.approx(alone, abs=0.002)


class Liar(KVCache):
    """A class of a later mlx-lm: it has `merge` and says that it can be trimmed, but forgets."""

    def trim(self, n: int) -> int:
        self.offset -= n - 1
        return n

    @classmethod
    def merge(cls, caches: list[Any]) -> Any:
        batch = KVCache.merge(caches)
        batch.left_padding = mx.zeros_like(batch.left_padding)
        return batch


def test_a_class_that_lies_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    kind = type(model)
    monkeypatch.setattr(kind, "make_cache", lambda self: [Liar() for _ in self.layers])
    monkeypatch.setattr(model_check, "_BATCHED", (Liar,))
    policy = CachePolicy(model)
    policy.verdict = checked(model)
    assert not policy.batchable
    assert not policy.trimmable


class LateLiar(KVCache):
    """A class of a later mlx-lm: its batches go wrong once a row's buffer has grown."""

    @classmethod
    def merge(cls, caches: list[Any]) -> Any:
        batch = KVCache.merge(caches)
        if max(cache.offset for cache in caches) > cls.step:
            batch.left_padding = mx.zeros_like(batch.left_padding)
        return batch


def test_rows_of_a_class_that_may_go_wrong_later_run_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build("llama")
    for one in (LateLiar, lambda: CacheList(LateLiar(), KVCache())):
        monkeypatch.setattr(
            type(model),
            "make_cache",
            lambda self, one=one: [one() for _ in self.layers],
            raising=False,
        )
        assert not model_check._batches_as_known(own_caches(model))
    monkeypatch.setattr(
        type(model), "make_cache", lambda self: [LateLiar() for _ in self.layers]
    )
    assert not checked(model).together


def test_rows_of_a_model_that_attends_by_blocks_run_alone() -> None:
    model = build("llama")
    assert checked(model).together
    model.layers[1].self_attn.index_block_size = 4
    assert checked(model) == Verdict(together=False, padded=False, cut=True)


@pytest.mark.parametrize("tokens", [16, 32, 64])
def test_padding_does_not_reach_a_recurrent_state_through_slices(tokens: int) -> None:
    model = build("mamba2")
    policy = CachePolicy(model)
    policy.verdict = checked(model)
    chunk = ChunkSize()
    chunk.tokens = tokens
    chunk.learn = lambda tokens, seconds: None  # type: ignore[method-assign]
    tools = Tools(model, policy, str, chunk)
    prompts = [[(n + k) % VOCABULARY for k in range(n)] for n in (33, 36, 40)]

    labels = {"a": [3], "b": [4, 8]}

    together = classified(tools, prompts, labels)
    for place, ids in enumerate(prompts):
        alone = classified(tools, [ids], labels)[0]
        assert together[place].logprob == pytest.approx(alone.logprob, abs=0.002)
        assert together[place].labels == pytest.approx(alone.labels, abs=0.002)


def test_a_prompt_with_nothing_to_compute_is_right_beside_a_longer_one() -> None:
    model = build("mamba2")
    policy = CachePolicy(model)
    policy.verdict = checked(model)
    runner = Runner(model, policy, PromptCache(policy), ChunkSize())
    known, longer = [9, 3, 77, 20], [5, 9, 13, 31, 64]
    run(runner, [known])
    for ids, tokens in zip([known, longer], run(runner, [known, longer]), strict=True):
        held_to_truth(model, ids, tokens)


def test_a_model_that_is_wrong_in_slices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    monkeypatch.setattr(type(model), "make_cache", lambda self: [
        RotatingKVCache(2) for _ in self.layers
    ])  # fmt: skip
    told = type(model).__call__
    monkeypatch.setattr(type(model), "__call__", lambda self, ids, cache=None: told(self, ids))
    with pytest.raises(WireError) as refused:
        checked(model)
    assert refused.value.code == "unsupported_model"
    assert refused.value.data == {"reason": "slices_differ"}


def test_a_cut_kernel_is_no_finding_about_the_model() -> None:
    def operation() -> Iterator[mx.array]:
        raise RuntimeError("[Compile::eval_cpu] Could not load C++ shared library x: y")
        yield

    model = build("llama")
    with pytest.raises(RuntimeError, match="shared library"):
        _Trial(model, partial(own_caches, model), 100).difference(operation)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_check_of_the_first_layers_comes_to_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_check, "_SECONDS", 0.0)  # no budget for the whole model
    model = build(name)
    layers = list(model.layers)
    found = check_model(
        model,
        partial(own_caches, model),
        vocabulary=VOCABULARY,
        elapsed=0.0,
        folder=None,
        key="k",
    )
    assert found == CONFIGS[name][1]
    assert list(map(id, model.layers)) == list(map(id, layers))


def test_the_first_layers_are_enough_for_a_model_of_equal_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_check, "_SECONDS", 0.0)
    model = build("llama")
    used: set[int] = set()
    told = type(model).__call__

    def counting(self: Any, ids: Any, cache: Any = None) -> Any:
        used.add(len(self.layers))
        return told(self, ids, cache)

    monkeypatch.setattr(type(model), "__call__", counting)
    check_model(
        model,
        partial(own_caches, model),
        vocabulary=VOCABULARY,
        elapsed=0.0,
        folder=None,
        key="k",
    )
    assert used == {1}


def test_a_verdict_is_kept_and_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    model = build("llama")
    made = checked(model, tmp_path)
    assert read_finding(tmp_path / "verdicts", "k", Verdict) == made
    kept = Verdict(together=False, padded=False, cut=False)
    keep_finding(tmp_path / "verdicts", "k", kept)
    assert checked(model, tmp_path) == kept
    for content in (b"", b"{", b'{"together":1}', b"[]", b'{"together":true,"more":1}'):
        (tmp_path / "verdicts" / "k.json").write_bytes(content)
        assert checked(model, tmp_path) == made
