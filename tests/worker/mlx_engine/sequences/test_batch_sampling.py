"""Cuts, penalties, seeds and log-probabilities of whole batches, against mlx-lm and numpy."""

from __future__ import annotations

import itertools
from typing import Any

import mlx.core as mx
import mlx_lm.sample_utils as theirs
import numpy as np
import pytest

from mlxwire_worker.mlx_engine.sequences.penalties import Penalties
from mlxwire_worker.mlx_engine.sequences.rows import Row
from mlxwire_worker.mlx_engine.sequences.sampling import BatchSampler
from mlxwire_worker.prompts import Prompt, SamplingParams
from support.direct import Direct

VOCABULARY = 60
HOT = 100.0
"""A temperature that makes all that is left about equally likely."""


def row(ids: list[int] | None = None, **options: Any) -> Row:
    stop_ids = frozenset(options.get("stop_tokens", ()))
    return Row.of(
        Prompt(
            ids=ids or [1, 2],
            max_tokens=100,
            stop_ids=stop_ids,
            detokenizer=None,  # type: ignore[arg-type]
            params=SamplingParams(**options),
        )
    )


def random_logits(seed: int, rows: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, 2.2, (rows, VOCABULARY)).astype(np.float32)


CUTS: list[dict[str, Any]] = [
    {"top_p": 0.5},
    {"top_p": 0.95},
    {"top_k": 1},
    {"top_k": 9},
    {"min_p": 0.02},
    {"min_p": 1.0},
    {"top_p": 0.9, "min_p": 0.1},
    {"top_p": 0.8, "top_k": 3},
    {"xtc_probability": 1.0, "xtc_threshold": 0.05},
    {"xtc_probability": 1.0, "xtc_threshold": 0.5},
    {"xtc_probability": 1.0, "xtc_threshold": 0.0},
    {"xtc_probability": 1.0, "xtc_threshold": 0.05, "top_k": 2},
    {"xtc_probability": 1.0, "xtc_threshold": 0.2, "top_p": 0.5},
    {"xtc_probability": 1.0, "xtc_threshold": 0.1, "min_p": 0.2, "top_k": 4},
    {"top_p": 0.7, "min_p": 0.05, "xtc_probability": 1.0, "xtc_threshold": 0.08, "top_k": 5},
]


def left_by_mlx_lm(logits: np.ndarray[Any, Any], options: dict[str, Any]) -> set[int]:
    """Return the tokens that mlx-lm's chain of cuts leaves, in its order."""
    x = mx.array(logits)
    x = x - mx.logsumexp(x, axis=-1, keepdims=True)
    if 0 < options.get("top_p", 0) < 1:
        x = theirs.apply_top_p(x, options["top_p"])
    if options.get("min_p"):
        x = theirs.apply_min_p(x, options["min_p"])
    if options.get("xtc_probability"):
        x = theirs.apply_xtc(x, options["xtc_probability"], options["xtc_threshold"], [])
    if options.get("top_k"):
        x = theirs.apply_top_k(x, options["top_k"])
    return {int(i) for i in np.flatnonzero(np.isfinite(np.array(x[0])))}


@pytest.mark.parametrize("options", CUTS, ids=str)
def test_the_cuts_leave_what_mlx_lm_leaves(options: dict[str, Any]) -> None:
    for seed in range(4):
        logits = random_logits(seed)
        expected = left_by_mlx_lm(logits, options)
        # Every token left is missed by so many draws about once in a million times.
        draws = 20 * len(expected) + 20
        rows = [row(temperature=HOT, seed=number, **options) for number in range(draws)]
        tokens: Any = (
            BatchSampler(rows).choose(mx.array(logits.repeat(draws, 0))).tokens.tolist()
        )

        assert set(tokens) == expected, seed


def test_xtc_flips_a_coin_for_each_row_and_draw() -> None:
    logits = np.zeros((1, VOCABULARY), dtype=np.float32)
    logits[0, [3, 4]] = [9.0, 8.5]
    rows = [
        row(temperature=1e-2, seed=number, xtc_probability=0.4, xtc_threshold=0.1)
        for number in range(400)
    ]
    tokens: Any = BatchSampler(rows).choose(mx.array(logits.repeat(400, 0))).tokens.tolist()

    assert set(tokens) == {3, 4}
    assert 0.3 < tokens.count(4) / 400 < 0.5


def test_a_kind_of_sampling_does_not_disturb_another_in_the_batch() -> None:
    kinds: list[dict[str, Any]] = [{}, {"temperature": 1.0}, *CUTS]
    rows = [{"temperature": 0.9, "seed": 5, **kind} for kind in kinds for _ in range(2)]
    rows[0] = {"temperature": 0.0}
    logits = random_logits(9, len(rows))

    together: Any = BatchSampler([row(**one) for one in rows]).choose(mx.array(logits))

    for place, one in enumerate(rows):
        alone: Any = BatchSampler([row(**one)]).choose(mx.array(logits[place : place + 1]))
        assert together.tokens[place].item() == alone.tokens[0].item(), one


def test_drawn_as_often_as_the_temperature_says() -> None:
    logits, temperature, draws = random_logits(3), 0.7, 4000
    scaled = logits[0].astype(np.float64) / temperature
    expected = np.exp(scaled - scaled.max())
    expected /= expected.sum()
    rows = [row(temperature=temperature, seed=number) for number in range(draws)]
    tokens: Any = BatchSampler(rows).choose(mx.array(logits.repeat(draws, 0))).tokens.tolist()

    seen = np.bincount(tokens, minlength=VOCABULARY) / draws
    spread = 5 * np.sqrt(expected * (1 - expected) / draws) + 1 / draws
    assert (np.abs(seen - expected) < spread).all()


def test_draws_of_one_row_are_independent_of_each_other() -> None:
    sampler = BatchSampler([row(temperature=1.0, seed=1)])
    flat = mx.zeros((1, VOCABULARY))
    drawn = [int(sampler.choose(flat).tokens.item()) for _ in range(600)]  # type: ignore[arg-type]

    pairs = set(itertools.pairwise(drawn))
    assert len(set(drawn)) == VOCABULARY
    assert len(pairs) > 500


# -- penalties -----------------------------------------------------------------------


def penalised(
    logits: np.ndarray[Any, Any], generated: list[int], options: dict[str, Any]
) -> np.ndarray[Any, Any]:
    """Apply OpenAI's presence and frequency and CTRL's repetition over the window's tokens."""
    window = options.get("penalty_window", 0)
    recent = generated[-window:] if window else generated
    out = logits.astype(np.float64).copy()
    factor = options.get("repeat_penalty") or 1.0
    for token in set(recent):
        out[token] = out[token] / factor if out[token] > 0 else out[token] * factor
        out[token] -= options.get("presence_penalty", 0.0)
        out[token] -= options.get("frequency_penalty", 0.0) * recent.count(token)
    for token, bias in options.get("logit_bias", {}).items():
        out[int(token)] += bias
    if len(generated) < options.get("min_tokens", 0):
        out[options["stop_tokens"]] = -np.inf
    return out


PENALTIES: list[dict[str, Any]] = [
    {},
    {"repeat_penalty": 1.5},
    {"presence_penalty": 2.0},
    {"frequency_penalty": 1.2},
    {"repeat_penalty": 1.3, "presence_penalty": -1.0, "frequency_penalty": 0.5},
    {"frequency_penalty": 2.0, "penalty_window": 2},
    {"repeat_penalty": 3.0, "penalty_window": 3},
    {"presence_penalty": 5.0, "penalty_window": 7},
    {"logit_bias": {4: 3.0, 7: -100.0, 59: 2.5}},
    {"min_tokens": 6, "stop_tokens": [1, 2, 3, 9, 30]},
    {"logit_bias": {5: 9.0}, "frequency_penalty": 1.0, "min_tokens": 3, "stop_tokens": [5]},
]


@pytest.mark.parametrize("leaves", [False, True])
def test_penalties_of_a_batch_are_each_rows_own_at_every_step(leaves: bool) -> None:
    rows = [row(**options) for options in PENALTIES]
    wanted = list(PENALTIES)
    dice = np.random.default_rng(7)
    sampler = BatchSampler(rows[:4])
    sampler.extend(BatchSampler(rows[4:]))
    unread: mx.array | None = None
    for step in range(14):
        logits = dice.normal(0, 1.0, (len(rows), VOCABULARY)).astype(np.float32)
        logits[:, 11] += 2.5  # likely, so that it is repeated
        chosen = sampler.choose(mx.array(logits), unread).tokens
        for place, one in enumerate(rows):
            # A row's log gets its last token only now, one call late, as in the engine.
            if unread is not None:
                one.generated.append(int(unread[place].item()))  # type: ignore[arg-type]
            oracle = penalised(logits[place], one.generated, wanted[place])
            assert int(chosen[place].item()) == int(oracle.argmax()), (step, wanted[place])  # type: ignore[arg-type]
        unread = chosen
        if leaves and step == 6:
            kept = [0, 3, 5, 6, 8, 10]
            sampler.keep(kept)
            rows = [rows[place] for place in kept]
            wanted = [wanted[place] for place in kept]
            unread = chosen[mx.array(kept)]


def test_a_row_that_comes_back_is_penalised_for_what_it_had_generated() -> None:
    options = {"frequency_penalty": 1.0, "penalty_window": 3}
    back = row(**options)
    back.generated = [4, 4, 9, 4]
    penalties = Penalties([back])
    assert penalties is not None
    logits = random_logits(1)

    shaped = np.array(penalties.apply(mx.array(logits), [4]))[0]

    np.testing.assert_allclose(shaped, penalised(logits[0], back.generated, options), atol=1e-5)


# -- of a model ----------------------------------------------------------------------


def test_seeds_are_honoured_in_a_batch(llama: Direct) -> None:
    def prompts() -> list[Prompt]:
        return [
            llama.prepare("Once", seed=seed, temperature=1.0, max_tokens=12, ignore_eos=True)
            for seed in (1, 2, 1, 3, 2**53 - 1, 1)
        ]

    first = [answer.tokens for answer in llama.run(prompts())]
    again = [answer.tokens for answer in llama.run(reversed(prompts()))]

    assert first == again[::-1]
    assert first[0] == first[2] == first[5]
    assert len({tuple(tokens) for tokens in first}) == 4


def full_logprobs(direct: Direct, ids: list[int]) -> np.ndarray[Any, Any]:
    """Return every position's log-probabilities by one pass over all, without any cache."""
    rows = np.array(direct.loaded.model(mx.array(ids)[None])[0].astype(mx.float32))
    shifted = rows.astype(np.float64) - rows.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def test_logprobs_are_those_of_a_full_pass_and_the_likeliest_come_first(llama: Direct) -> None:
    kinds: list[dict[str, Any]] = [
        {"top_logprobs": 5},
        {},
        {"top_logprobs": 64, "temperature": 1.2, "seed": 1},
        {"top_logprobs": 1, "frequency_penalty": 2.0, "logit_bias": {"9": 50.0}},
    ]
    prompts = [
        llama.prepare(
            "The weather " * (place + 1),
            max_tokens=6 + place,
            logprobs=True,
            ignore_eos=True,
            **kind,
        )
        for place, kind in enumerate(kinds)
    ]
    plain = llama.prepare("no numbers asked", max_tokens=9, ignore_eos=True)

    answers = llama.run([prompts[0], plain, *prompts[1:]])
    assert answers[1].logprobs == [None] * 9

    for prompt, kind in zip(prompts, kinds, strict=True):
        answer = llama.answers[prompt]
        truth = full_logprobs(llama, prompt.ids + answer.tokens)
        for place, token in enumerate(answer.tokens):
            expected = truth[len(prompt.ids) - 1 + place]
            logprob, top = answer.logprobs[place], answer.tops[place]
            assert logprob == pytest.approx(expected[token], abs=1e-4)
            if not kind.get("top_logprobs"):
                assert top is None
                continue
            assert top is not None
            values = [value for _, value in top]
            assert values == sorted(values, reverse=True)
            best = np.sort(expected)[::-1][: kind["top_logprobs"]]
            np.testing.assert_allclose(values, best, atol=1e-4)
            for token_id, value in top:
                assert value == pytest.approx(expected[token_id], abs=1e-4)


def test_a_new_temperature_compiles_nothing(
    llama: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a compiled sampler of mlx-lm was called")

    for name in (
        "apply_top_k",
        "apply_top_p",
        "apply_min_p",
        "apply_xtc",
        "categorical_sampling",
    ):
        monkeypatch.setattr(theirs, name, forbidden)
    monkeypatch.setattr(mx, "compile", forbidden)

    for number in range(20):
        answer = llama.answer(
            "x",
            max_tokens=3,
            temperature=0.5 + number / 17,
            top_p=0.5 + number / 41,
            min_p=number / 99,
            top_k=number,
            xtc_probability=number / 20,
            repeat_penalty=1 + number / 10,
        )
        assert answer.error is None
