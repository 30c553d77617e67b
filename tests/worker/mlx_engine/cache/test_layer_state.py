"""Every kind of cache that mlx-lm's models make comes back as it was, and as nothing else."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models import falcon_h1, gemma3_text, llama, mamba2

from mlxwire_worker.mlx_engine.cache import kv, layer_state
from mlxwire_worker.mlx_engine.cache.policy import CachePolicy, can_rotate
from mlxwire_worker.mlx_engine.cache.verdict import Verdict

WINDOW = 8
SIZES = {"vocab_size": 50, "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2}


def make_llama() -> Any:
    heads = {"num_attention_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-5}
    return llama.Model(llama.ModelArgs(model_type="llama", **heads, **SIZES))  # type: ignore[arg-type]


def make_gemma() -> Any:
    args: Any = {"sliding_window": WINDOW, "sliding_window_pattern": 2, "head_dim": 32, **SIZES}
    return gemma3_text.Model(gemma3_text.ModelArgs(model_type="gemma3_text", **args))


def make_mamba() -> Any:
    args: Any = {
        "num_heads": 4,
        "head_dim": 32,
        "state_size": 16,
        "conv_kernel": 4,
        "n_groups": 1,
        "layer_norm_epsilon": 1e-5,
        "use_bias": False,
        "use_conv_bias": True,
        "tie_word_embeddings": True,
        "time_step_limit": (0.0, 9.0),
        "time_step_rank": "auto",
    }
    return mamba2.Model(mamba2.ModelArgs(model_type="mamba2", **args, **SIZES))


def make_falcon() -> Any:
    args: Any = {
        "mamba_d_head": 16,
        "mamba_d_ssm": 64,
        "mamba_d_state": 16,
        "mamba_n_heads": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
    }
    return falcon_h1.Model(falcon_h1.ModelArgs(**args, **SIZES))


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (make_llama, {}),
    "quantized": (make_llama, {"kv_bits": 4, "kv_group_size": 32}),
    "rotating": (make_llama, {"window": WINDOW}),
    "some rotating": (make_gemma, {}),
    "recurrent": (make_mamba, {}),
    "lists of both": (make_falcon, {}),
    "lists of both, quantized": (make_falcon, {"kv_bits": 4, "kv_group_size": 32}),
}


def computed(model: Any, policy: CachePolicy, tokens: int, slices: int) -> kv.Layers:
    """Return caches after a prompt in slices of this size."""
    layers = policy.make()
    ids = mx.arange(tokens)[None] % 50
    for start in range(0, tokens, slices):
        model(ids[:, start : start + slices], cache=layers)
        mx.eval(kv.states(layers))
    return layers


def joined(layers: kv.Layers, tokens: int) -> kv.Layers:
    """Return the same caches from the row of a batch."""
    batch = kv.merge([layers, kv.snapshot(layers)])
    return kv.extract_row(batch, 1, tokens)


def test_a_recurrent_layer_can_not_rotate() -> None:
    assert not can_rotate(make_mamba())


@pytest.mark.parametrize("tokens", [1, 5, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_comes_back_as_it_was(kind: str, tokens: int) -> None:
    make, options = KINDS[kind]
    mx.random.seed(3)
    model = make()
    policy = CachePolicy(model, **options)
    example = policy.example()
    for slices in (1, 3, 100):
        made = [computed(model, policy, tokens, slices)]
        policy.verdict = Verdict(together=True, padded=True, cut=True)
        if policy.batchable:
            made.append(joined(made[0], tokens))
        for layers in made:
            again = policy.make()
            for layer, old, like in zip(again, layers, example, strict=True):
                layer_state.refuse_misfit(layer, layer_state.flatten(old), like, tokens)
            then = model(mx.array([[7, 8]]), cache=kv.snapshot(layers))
            assert mx.allclose(model(mx.array([[7, 8]]), cache=again), then, atol=1e-5)


NUMBERS = [-1, 0, 1, 12, 10**18, True, 2.0, None, "x"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_of_a_state_can_be_another(kind: str) -> None:
    make, options = KINDS[kind]
    model = make()
    policy = CachePolicy(model, **options)
    example = policy.example()
    tokens = 3 * WINDOW
    tried = 0
    for place, layer in enumerate(computed(model, policy, tokens, 1)):
        like = example[place]
        state = layer_state.flatten(layer)
        for name, value in state.items():
            if isinstance(value, mx.array):
                continue
            for number in NUMBERS:
                if number == value and type(number) is type(value):
                    continue
                fits_too = type(number) is int and name == "5" and 0 <= number <= WINDOW
                if fits_too:  # where a ring goes on, of which each place is as good
                    continue
                tried += 1
                with pytest.raises(ValueError, match=r"layer|array"):
                    layer_state.refuse_misfit(
                        policy.make()[place], {**state, name: number}, like, tokens
                    )
    assert tried


@pytest.mark.parametrize("kind", KINDS)
def test_no_array_of_a_state_can_be_of_another_shape(kind: str) -> None:
    make, options = KINDS[kind]
    model = make()
    policy = CachePolicy(model, **options)
    example = policy.example()
    for place, layer in enumerate(computed(model, policy, 5, 5)):
        like = example[place]
        state = layer_state.flatten(layer)
        for name, value in state.items():
            if not isinstance(value, mx.array):
                continue
            others = [value[0], value.astype(mx.uint16)]
            others += [mx.repeat(value, 2, axis=axis) for axis in range(value.ndim)]
            others += [value[..., :-1, :]] if value.shape[-2] > 1 else []
            for other in others:
                with pytest.raises(ValueError, match=r"layer|array"):
                    layer_state.refuse_misfit(
                        policy.make()[place], {**state, name: other}, like, 5
                    )
