"""Documents ranked by a classification head, against numpy and in each form of a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories.encoders import ENCODERS, build_encoder
from factories.models import write_json
from support.encoder_reference import EncoderReference
from support.model_worker import ModelWorker

QUERY = "is a cat not a dog ?"
DOCUMENTS = ["the cat sat on the mat .", "a dog", "food", "the baby eats bread . " * 2, "not"]


@pytest.mark.parametrize("kind", ENCODERS)
def test_scores_are_the_head_s(worker: ModelWorker, tmp_path: Path, kind: str) -> None:
    path = build_encoder(kind, tmp_path / kind, labels=1, pooling=None, prefix=True)
    truth = EncoderReference(path)

    ranked = worker.use(path).ask("rerank", query=QUERY, documents=DOCUMENTS)

    wanted = 1 / (1 + np.exp([-truth.logits(QUERY, each)[0] for each in DOCUMENTS]))
    found = ranked["results"]
    assert [each["index"] for each in found] == list(np.argsort(-wanted))
    np.testing.assert_allclose(
        [each["relevance_score"] for each in found], -np.sort(-wanted), atol=2e-5
    )
    assert ranked["metrics"]["prompt_tokens"] > 0
    assert worker.ask("info")["capabilities"]["rerank"] is True


def test_the_best_are_kept(worker: ModelWorker, tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "top", labels=1, pooling=None)
    every = worker.use(path).ask("rerank", query=QUERY, documents=DOCUMENTS)["results"]

    best = worker.ask("rerank", query=QUERY, documents=DOCUMENTS, top_n=2)["results"]

    assert [each["index"] for each in best] == [each["index"] for each in every][:2]


@pytest.mark.parametrize("place", ["older", "nested", "newer"])
def test_a_folder_s_function_of_the_logit_is_applied(
    worker: ModelWorker, tmp_path: Path, place: str
) -> None:
    name = "torch.nn.modules.linear.Identity"
    config: dict[str, Any] = {
        "older": {"sbert_ce_default_activation_function": name},
        "nested": {"sentence_transformers": {"activation_fn": name}},
    }.get(place, {})
    path = build_encoder("bert", tmp_path / place, labels=1, pooling=None, config=config)
    if place == "newer":  # as sentence-transformers 6 saves a CrossEncoder
        write_json(path / "config_sentence_transformers.json", {"activation_fn": name})
        module = {"idx": 0, "name": "0", "path": "", "type": "a.transformer.Transformer"}
        (path / "modules.json").write_text(json.dumps([module]))
    truth = EncoderReference(path)

    ranked = worker.use(path).ask("rerank", query=QUERY, documents=DOCUMENTS[:1])

    score = ranked["results"][0]["relevance_score"]
    assert abs(score - truth.logits(QUERY, DOCUMENTS[0])[0]) < 2e-4


def test_what_can_not_be_ranked_is_refused(worker: ModelWorker, tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "refused", labels=1, pooling=None)
    worker.use(path)

    told = worker.refusal("rerank", query="a", documents=["b"], instruction="c")
    long = worker.refusal("rerank", query="a", documents=["b", "cat " * 50])
    query = worker.refusal("rerank", query="cat " * 50, documents=["b"])
    adapter = worker.refusal("rerank", query="a", documents=["b"], adapter="c")

    assert (told["code"], told["data"]["field"]) == ("invalid_params", "instruction")
    assert (long["code"], long["data"]["field"]) == ("context_overflow", "documents[1]")
    assert (query["code"], query["data"]["field"]) == ("context_overflow", "query")
    assert (adapter["code"], adapter["data"]["missing"]) == (
        "unsupported_capability",
        ["adapter"],
    )


@pytest.mark.parametrize("labels", [0, 3])
def test_a_model_without_one_label_does_not_rank(
    worker: ModelWorker, tmp_path: Path, labels: int
) -> None:
    path = build_encoder("roberta", tmp_path / "labels", labels=labels)

    error = worker.use(path).refusal("rerank", query="a", documents=["b"])

    assert (error["code"], error["data"]["missing"]) == ("unsupported_capability", ["rerank"])
    assert worker.ask("info")["capabilities"]["rerank"] is False


def test_a_model_with_a_head_embeds_too(worker: ModelWorker, tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "both", labels=1)

    final = worker.use(path).ask("embed", texts=["a dog"])

    assert final["type"] == "done"


def test_an_unknown_function_of_the_logit_is_refused(
    worker: ModelWorker, tmp_path: Path
) -> None:
    config = {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Softplus"}
    path = build_encoder("bert", tmp_path / "f", labels=1, pooling=None, config=config)

    error = worker.refusal("load", path=str(path), warmup=False)

    assert (error["code"], error["data"]["field"]) == ("unsupported_model", "activation_fn")
    assert "Softplus" in error["message"]
