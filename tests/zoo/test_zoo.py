"""Each architecture answers in every operation as it does alone without a cache."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

import mlx_lm.models
import pytest
from mlx_lm.utils import MODEL_ARCHITECTURE_REMAPPING, MODEL_REMAPPING

from mlxwire_protocol import WireError
from mlxwire_worker.passes import Classified
from support.direct import Answer, Direct

from .builder import load_alone
from .configurations import CONFIGURATIONS
from .judge import Alone, Judge
from .refused import NOT_BUILT, refused_somewhere
from .scenes import SCENES, Visit

Built = Callable[[str], Path]


def test_answers_as_the_model_alone(animal: str, built: Built, texts: tuple[str, ...]) -> None:
    folder = built(animal)
    judge = Judge(Alone(load_alone(folder)))
    direct = Direct(folder)
    try:
        visit = Visit(direct, judge, texts)
        for scene in SCENES:
            scene(visit)
    finally:
        direct.close()
    assert judge.compared > 1000
    assert not judge.differences, "\n".join(judge.differences)


def test_refuses_with_a_typed_error(refusal: str, built: Built) -> None:
    with pytest.raises(WireError) as caught:
        Direct(built(refusal))
    assert caught.value.code == "unsupported_model"
    assert caught.value.data["reason"]


def test_the_zoo_has_every_architecture_of_mlx_lm() -> None:
    types = {config["model_type"] for config in CONFIGURATIONS.values()}
    assert _architectures() - types == set(NOT_BUILT)


def test_every_refused_architecture_is_one_of_the_zoo() -> None:
    assert set(refused_somewhere()) <= set(CONFIGURATIONS)


def test_the_judge_sees_a_wrong_token_and_a_wrong_logprob(built: Built) -> None:
    alone = Alone(load_alone(built("llama")))
    row = alone.logprobs([5, 6, 7])
    best, other = int(row.argmax()), int(row.argmin())
    right = Answer(tokens=[best], logprobs=[float(row[best])], tops=[None])
    for answer, differs in (
        (right, 0),
        (Answer(tokens=[other], logprobs=[float(row[other])], tops=[None]), 1),
        (Answer(tokens=[best], logprobs=[float(row[best]) + 0.0021], tops=[None]), 1),
        (Answer(tokens=[best], logprobs=[float("nan")], tops=[None]), 1),
        (Answer(tokens=[best], logprobs=right.logprobs, tops=[[(other, 0.0)]]), 1),
        (Answer(tokens=[], logprobs=[], tops=[]), 1),
    ):
        judge = Judge(alone)
        judge.answer("made up", [5, 6, 7], answer)
        assert len(judge.differences) == differs, answer


def test_the_judge_sees_a_wrong_label(built: Built) -> None:
    judge = Judge(Alone(load_alone(built("llama"))))
    row = judge.alone.logprobs([5, 6, 7])
    best = int(row.argmax())
    halves = {"a": 0.5, "b": 0.5}
    result = Classified("", best, float(row[best]), None, halves)
    judge.classified("made up", [5, 6, 7], result, {"a": [best], "b": [int(row.argmin())]})
    assert len(judge.differences) == 2


def _architectures() -> set[str]:
    found = {*MODEL_REMAPPING, *(model_type for model_type, _ in MODEL_ARCHITECTURE_REMAPPING)}
    for module in pkgutil.iter_modules(mlx_lm.models.__path__):
        try:
            loaded = importlib.import_module(f"mlx_lm.models.{module.name}")
        except (ImportError, SystemExit):  # it wants a package that is not installed
            found.add(module.name)
            continue
        if hasattr(loaded, "Model") and hasattr(loaded, "ModelArgs"):
            found.add(module.name)
    return found
