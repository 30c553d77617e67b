from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from .builder import build
from .configurations import CONFIGURATIONS
from .refused import refused
from .scenes import PROMPTS

SUBSET = (
    "llama",  # dense
    "gpt_oss",  # windows, sinks, experts
    "gemma3n",  # keys and values shared between layers, windows
    "llama4",  # chunks
    "deepseek_v3",  # latent
    "deepseek_v32",  # latent with an indexer
    "mamba",  # recurrent
    "rwkv7",  # recurrent with token shift
    "jamba",  # recurrent beside attention, experts
    "falcon_h1",  # both in one layer
    "qwen3_next",  # gated delta rule
    "lfm2",  # convolutions
    "baichuan_m1",  # convolutions inside attention, windows
    "nemotron-nas",  # layers without attention
    "internlm2",  # positions that only one row may have
    "mistral3",  # inside a vision-language config
    "olmo",  # refused
)
"""One animal for each kind of layer and cache."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wanted = {"animal", "known_animal", "refusal"} & set(metafunc.fixturenames)
    if not wanted:
        return
    option = metafunc.config.getoption
    only = [name for name in option("only", default="").split(",") if name]
    every = list(CONFIGURATIONS) if option("every", default=False) else list(SUBSET)
    unknown = set(only) - set(CONFIGURATIONS)
    if unknown:
        raise pytest.UsageError(f"--only: the zoo has no {', '.join(sorted(unknown))}")
    names = only or every
    out = refused()
    served = [name for name in names if name not in out]
    chosen = {
        "animal": served,
        "known_animal": [name for name in served if _known_to_transformers(name)],
        "refusal": [name for name in names if name in out],
    }
    for fixture in wanted:
        metafunc.parametrize(fixture, chosen[fixture])


def _known_to_transformers(name: str) -> bool:
    return CONFIGURATIONS[name]["model_type"] in CONFIG_MAPPING


@pytest.fixture(scope="session")
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function from an animal's name to its folder, built once."""
    seed = request.config.getoption("seed", default=0)

    @functools.cache
    def folder(name: str) -> Path:
        return build(name, tmp_path_factory.mktemp("animal"), seed=seed)

    return folder


@pytest.fixture(scope="session")
def texts(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return four prompts of unlike lengths, the last one the longest."""
    given = request.config.getoption("prompt", default=None)
    if given is None:
        return PROMPTS
    if len(given) != len(PROMPTS):
        raise pytest.UsageError(f"--prompt: give {len(PROMPTS)} of them, the longest last")
    return tuple(given)
