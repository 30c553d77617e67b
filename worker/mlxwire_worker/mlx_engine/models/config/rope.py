"""Writes the rotary settings of config.json in every form that modules of mlx-lm read.

transformers 5 writes `rope_parameters`, flat or one object per layer type, where older versions
write `rope_theta`, `rope_scaling` and `partial_rotary_factor`. A module reads one of the two forms
and drops the other. The rules are those of transformers' `modeling_rope_utils.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

THETAS = ("rope_theta", "rotary_emb_base")
LOCAL_THETAS = ("rope_local_base_freq", "rope_local_theta", "swa_rope_theta")
"""The base for the layers of a sliding window, where one object has settings for both."""
FRACTIONS = ("partial_rotary_factor", "rotary_pct")
FULL, SLIDING = "full_attention", "sliding_attention"
_WITH_ORIGINAL = ("yarn", "llama3", "longrope")
_PLAIN = ("default", "mrope")

Settings = dict[str, Any]


def with_both_forms(config: Settings) -> Settings:
    """Return a copy of a config whose rotary settings are in both forms, in `text_config` too.

    Raises: ValueError, TypeError or AttributeError for settings that are no numbers and objects.
    """
    completed = _completed(config)
    text = config.get("text_config")
    if isinstance(text, dict):
        completed["text_config"] = _completed(text)
    return completed


def settings_by_layer_type(config: Settings) -> dict[str, Settings]:
    """Return the settings of each layer type that `rope_parameters` lists; empty if it is flat."""
    settings = config.get("rope_parameters")
    if not isinstance(settings, dict):
        return {}
    return {name: each for name, each in settings.items() if isinstance(each, dict)}


def rope_type(settings: Settings) -> str:
    """Return the kind of rotary embedding, "default" if it is not scaled."""
    return settings.get("rope_type") or settings.get("type") or "default"


def _completed(config: Settings) -> Settings:
    both = dict(config)
    nested = settings_by_layer_type(config)
    whole = nested.get(FULL) or next(iter(nested.values()), None)
    if whole is None:
        whole = config.get("rope_scaling") or config.get("rope_parameters")
    theta = next((config[name] for name in THETAS if config.get(name) is not None), None)
    if not whole and theta is None:
        return both
    settings = _standard(whole or {}, config, theta)
    _write_older_form(both, settings, written=bool(config.get("rope_parameters")))
    for name, each in nested.items():
        nested[name] = _standard(each, config, theta)
    if not nested:
        nested = _per_layer_type(settings, config)
    elif SLIDING in nested:
        for name in LOCAL_THETAS:
            both[name] = nested[SLIDING].get("rope_theta", config.get(name))
    both["rope_parameters"] = settings | nested
    attention = config.get("attn_config")
    if isinstance(attention, dict) and "rope_theta" in settings:
        both["attn_config"] = {"rope_theta": settings["rope_theta"], **attention}
    return both


def _standard(settings: Settings, config: Settings, theta: float | None) -> Settings:
    """Return one object of settings with everything that a module may expect in it."""
    kind = rope_type(settings)
    standard = {**settings, "type": kind, "rope_type": kind}
    if theta is not None:
        standard.setdefault("rope_theta", theta)
    fraction = next((config[name] for name in FRACTIONS if config.get(name) is not None), None)
    if fraction is not None:
        standard.setdefault("partial_rotary_factor", fraction)
    positions = config.get("max_position_embeddings")
    original = config.get("original_max_position_embeddings") or positions
    if kind in _WITH_ORIGINAL and original:
        standard.setdefault("original_max_position_embeddings", original)
    if kind == "yarn":
        if standard.get("factor") is None and positions:
            standard["factor"] = positions / standard["original_max_position_embeddings"]
        if standard.get("attention_factor") is not None:
            standard["mscale"] = _mscale(standard)
    return standard


def _mscale(settings: Settings) -> float:
    """Return the `mscale` with which mlx-lm's formula gives the stated `attention_factor`."""
    log = 0.1 * math.log(settings["factor"]) if settings["factor"] > 1 else 0.0
    if not log:
        return 1.0
    below = log * (settings.get("mscale_all_dim") or 0) + 1.0
    return float((settings["attention_factor"] * below - 1.0) / log)


def _write_older_form(both: Settings, settings: Settings, *, written: bool) -> None:
    """Add what older versions of transformers write; settings of the newer form count more."""
    for names, value in (
        (THETAS, settings.get("rope_theta")),
        (FRACTIONS, settings.get("partial_rotary_factor")),
    ):
        for name in names if value is not None else ():
            both[name] = value
    original = settings.get("original_max_position_embeddings")
    if rope_type(settings) == "longrope" and original:
        both.setdefault("original_max_position_embeddings", original)
    if rope_type(settings) not in _PLAIN:
        both["rope_scaling"] = settings
    elif written:
        both.setdefault("rope_scaling", None)


def _per_layer_type(settings: Settings, config: Settings) -> dict[str, Settings]:
    """Return the settings once for each layer type, where the modules that ask for them look."""
    layer_types = config.get("layer_types")
    names: Iterable[Any] = set(layer_types) if isinstance(layer_types, list) else ()
    made = {name: settings for name in names if isinstance(name, str)}
    local = next((config[name] for name in LOCAL_THETAS if config.get(name) is not None), None)
    if local is not None:
        made[SLIDING] = {"type": "default", "rope_type": "default", "rope_theta": local}
    return made
