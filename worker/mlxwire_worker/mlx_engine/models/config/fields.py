"""Lists the settings of config.json that change numbers, and refuses those that would be dropped.

A setting is refused if its value has an effect and the architecture's module does not use it.
Settings that shapes or names of the weights depend on (sizes, biases, heads) are not listed: a load
compares the weights with the module. docs/model-settings.md is held to this list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..model_files import quoted, unsupported
from .reading import Used
from .rope import FRACTIONS, SLIDING, THETAS, rope_type, settings_by_layer_type

_ACTIVATIONS = {
    "silu": ("silu", "swiglu", "SwiGLU"),
    "swish": ("silu", "swiglu", "SwiGLU"),
    "gelu": ("gelu", "geglu", "gelu_approx", "gelu_fast_approx", "GELU", "GeGLU", "gelu_topk"),
    "relu2": ("relu2", "relu_squared", "ReLUSquared", "square", "maximum"),
    "relu": ("relu", "ReLU", "maximum"),
    "xielu": ("xielu", "XieLU", "XIELU"),
}
"""The spellings of each activation in modules. All variants of gelu count as one."""


_SHAPES = frozenset(
    {"head_dim", "num_attention_heads", "num_key_value_heads", "intermediate_size"}
)
"""Settings that shapes of weights depend on, so that a load misses none of them."""


class Settings(NamedTuple):
    """The text model's settings, the module tree built from them, and what its source uses."""

    text: dict[str, Any]
    model: Any
    used: Used

    def uses(self, *names: str) -> bool:
        """Return True if the module's source uses a setting of one of these names."""
        return not self.used.names.isdisjoint(names)

    def of_modules(self, name: str) -> list[Any]:
        """Return the values that an attribute has in the modules of the tree."""
        return [vars(m)[name] for m in self.model.modules() if name in vars(m)]


Rule = Callable[[Any, Settings], bool]


class Field(NamedTuple):
    """A setting: its names, what its value has to be to have no effect, and that in words.

    ``one_thing`` is True if the names are synonyms, of which a module has to use one.
    """

    names: tuple[str, ...]
    has_no_effect: Rule
    neutral: str
    one_thing: bool = False


def _is(*values: Any) -> Rule:
    return lambda value, _: value in values


def _constant(*values: Any) -> Rule:
    """Accept some values, and any number that stands in the module's source."""

    def rule(value: Any, settings: Settings) -> bool:
        return value in values or (
            isinstance(value, int | float) and float(value) in settings.used.numbers
        )

    return rule


def _activation(value: Any, settings: Settings) -> bool:
    if settings.text.get("hidden_activation") not in (None, value):
        return True  # transformers takes that one, and keeps `hidden_act` for older versions
    family = "gelu" if str(value).startswith(("gelu", "quick_gelu")) else str(value)
    return not settings.used.identifiers.isdisjoint(_ACTIVATIONS.get(family, (family,)))


def _scoring(value: Any, settings: Settings) -> bool:
    return value not in ("softmax", "sigmoid") or value in settings.used.identifiers


def _epsilon(value: Any, settings: Settings) -> bool:
    held = settings.of_modules("eps")
    return not held or value in held or _constant()(value, settings)


def _theta(value: Any, settings: Settings) -> bool:
    bases = settings.of_modules("base")
    return settings.uses("rope_parameters") or not bases or value in bases


def _fraction(value: Any, settings: Settings) -> bool:
    dims = settings.of_modules("dims")
    heads = settings.text.get("num_attention_heads") or 1
    size = settings.text.get("head_dim") or (settings.text.get("hidden_size") or 0) // heads
    return (
        value == 1
        or settings.uses("rope_parameters", "rotary_dim")
        or int(size * value) in dims
    )


def _scaling(value: Any, settings: Settings) -> bool:
    plain = not isinstance(value, dict) or rope_type(value) in ("default", "mrope")
    return plain or settings.uses("rope_parameters") or not settings.of_modules("base")


def _shapes_alone(value: Any, _: Settings) -> bool:
    layers = value.values() if isinstance(value, dict) else ()
    return all(isinstance(layer, dict) and _SHAPES.issuperset(layer) for layer in layers)


def _head_size(value: Any, settings: Settings) -> bool:
    text = settings.text
    if text.get("qk_rope_head_dim") or not text.get("num_attention_heads"):
        return True
    return bool(value == (text.get("hidden_size") or 0) // text["num_attention_heads"])


FIELDS: tuple[Field, ...] = (
    Field(THETAS, _theta, "the base of the module's rotary embedding", one_thing=True),
    Field(
        FRACTIONS, _fraction, "1, or the part of a head that the module rotates", one_thing=True
    ),
    Field(("rope_scaling",), _scaling, "null, or of type `default` or `mrope`"),
    Field(("rope_interleave",), _is(True), "true"),
    Field(("alibi", "use_alibi"), _is(False), "false"),
    Field(
        (
            "rms_norm_eps",
            "layer_norm_eps",
            "layer_norm_epsilon",
            "layernorm_epsilon",
            "norm_eps",
            "norm_epsilon",
        ),
        _epsilon,
        "the epsilon of one of the module's norms",
        one_thing=True,
    ),
    Field(
        (
            "hidden_act",
            "hidden_activation",
            "activation_function",
            "mlp_hidden_act",
            "mamba_hidden_act",
        ),
        _activation,
        "an activation that the module's source names",
    ),
    Field(
        (
            "embedding_multiplier",
            "attention_in_multiplier",
            "attention_out_multiplier",
            "key_multiplier",
            "lm_head_multiplier",
            "ssm_in_multiplier",
            "ssm_out_multiplier",
            "residual_multiplier",
            "attention_multiplier",
            "logits_scaling",
            "logit_scale",
            "scale_emb",
            "mup_width_multiplier",
            "mup_embedding_multiplier",
            "routed_scaling_factor",
            "moe_router_scaling_factor",
            "router_scaling_factor",
        ),
        _constant(1),
        "1, or a number in the module's source",
    ),
    Field(
        (
            "final_logit_softcapping",
            "attn_logit_softcapping",
            "router_logit_softcapping",
            "swiglu_limit",
            "swiglu_alpha",
            "clip_qkv",
        ),
        _constant(0),
        "null or 0, or a number in the module's source",
    ),
    Field(("head_dim",), _head_size, "`hidden_size` / `num_attention_heads`"),
    Field(("per_layer_config",), _shapes_alone, "sizes of heads and layers"),
    Field(("norm_topk_prob",), _is(False), "false"),
    Field(
        ("scoring_func", "score_function", "moe_router_activation_func"),
        _scoring,
        "a function that the module's source names",
    ),
    Field(("moe_apply_router_weight_on_input",), _is(False), "false"),
    Field(("use_bidirectional_attention",), _is(False, "vision"), "false, or `vision`"),
    Field(("is_causal",), _is(True), "true"),
)


def check_fields(settings: Settings) -> None:
    """Refuse a setting that has an effect and that the module does not use.

    Raises: WireError ``unsupported_model``.
    """
    for name, value, neutral in _dropped(settings):
        raise unsupported(
            "unused_setting",
            f"config.json sets `{name}` to {quoted(value)[:80]}, which mlx-lm's module of this "
            f"architecture does not use, so its answers would be wrong; accepted is {neutral}. "
            "Use another model, or a newer mlx-lm",
            field=name,
        )


def _dropped(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    for field in FIELDS:
        for name in field.names:
            value = settings.text.get(name)
            if value is None or settings.uses(name):
                continue
            if field.one_thing and settings.uses(
                *(n for n in field.names if n in settings.text)
            ):
                continue
            if not field.has_no_effect(value, settings):
                yield name, value, field.neutral
    sliding = settings_by_layer_type(settings.text).get(SLIDING, {}).get("rope_theta")
    bases = settings.of_modules("base")
    reads_both = settings.uses("rope_parameters") or not bases or sliding in bases
    if isinstance(sliding, int | float) and not reads_both:  # some have a base for each layer
        yield f"rope_parameters.{SLIDING}.rope_theta", sliding, "the base of its other layers"
