"""Vectors and scores against sentence-transformers, of a real model and of each family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import build_model
from factories.encoders import ENCODERS, build_encoder
from factories.vector_models import INSTRUCTED, build_vector_model
from support.vectors import Vectors

from .conftest import Peer

TEXTS = [
    "A man is eating food.",
    "The girl is carrying a baby.",
    "What is the capital of China?",
    "a",
    " ",
    "Tab\tand\nnewline, an e\u0301 and Überraschung, 你好 🚀 and a word like antidisestablishmentarianism.",
    "long " * 120,
]
WORDS = ["the cat sat on the mat", "a dog", "not", "is the baby not a cat ? " * 4]
CLOSE = 1e-4


@pytest.fixture(scope="module")
def vectors() -> Iterator[Vectors]:
    engine = Vectors()
    yield engine
    engine.close()


def theirs(peer: Peer, path: Path, texts: list[str], **options: Any) -> np.ndarray[Any, Any]:
    answer = peer.ask(do="embed", model=str(path), texts=texts, **options)
    return np.array(answer["vectors"])


def test_a_real_model_has_the_same_vectors(
    vectors: Vectors, sentence_transformers: Peer
) -> None:
    path = Path(sentence_transformers.ask(do="find")["path"])
    wanted = theirs(sentence_transformers, path, TEXTS)

    found = vectors.load(path).embed(*TEXTS)

    np.testing.assert_allclose(found, wanted, atol=CLOSE)
    assert (found * wanted).sum(axis=-1).min() > 1 - CLOSE


@pytest.mark.parametrize("kind", ENCODERS)
def test_each_family_has_the_same_vectors(
    vectors: Vectors, sentence_transformers: Peer, tmp_path: Path, kind: str
) -> None:
    path = build_encoder(kind, tmp_path / "first", pooling="mean", normalize=False)
    sentence_transformers.ask(do="resave", model=str(path), out=str(tmp_path / "again"))
    wanted = theirs(sentence_transformers, path, WORDS)

    for form in ("first", "again"):
        found = vectors.load(tmp_path / form).embed(*WORDS)
        np.testing.assert_allclose(found, wanted, atol=CLOSE)


@pytest.mark.parametrize(
    "pooling", ["cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken"]
)
def test_each_pooling_has_the_same_vectors(
    vectors: Vectors, sentence_transformers: Peer, tmp_path: Path, pooling: str
) -> None:
    path = build_encoder("roberta", tmp_path / "p", pooling=pooling)
    wanted = theirs(sentence_transformers, path, WORDS)

    np.testing.assert_allclose(vectors.load(path).embed(*WORDS), wanted, atol=CLOSE)


@pytest.mark.parametrize(
    ("family", "end"), [("qwen3", "<|endoftext|>"), ("qwen2", None), ("gemma3", None)]
)
@pytest.mark.parametrize("bare", [True, False])
def test_a_causal_model_has_the_same_vectors(
    vectors: Vectors,
    sentence_transformers: Peer,
    tmp_path: Path,
    family: str,
    end: str | None,
    bare: bool,
) -> None:
    source = build_model(family, tmp_path / "source")
    path = build_vector_model(
        source, tmp_path / "model", end=end, bare=bare, prompts=INSTRUCTED, head=not bare
    )
    wanted = theirs(sentence_transformers, path, TEXTS)
    asked = theirs(sentence_transformers, path, TEXTS, prompt_name="query")
    cut = theirs(sentence_transformers, path, TEXTS, truncate_dim=16, normalize_embeddings=True)

    vectors.load(path)

    np.testing.assert_allclose(vectors.embed(*TEXTS), wanted, atol=CLOSE)
    np.testing.assert_allclose(vectors.embed(*TEXTS, prompt_name="query"), asked, atol=CLOSE)
    np.testing.assert_allclose(vectors.embed(*TEXTS, dimensions=16), cut, atol=CLOSE)


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_head_has_the_same_scores(
    vectors: Vectors, sentence_transformers: Peer, tmp_path: Path, kind: str
) -> None:
    path = build_encoder(kind, tmp_path / "first", labels=1, pooling=None, prefix=True)
    again = tmp_path / "again"
    sentence_transformers.ask(do="resave", model=str(path), out=str(again), cross=True)
    query, documents = WORDS[-1][:24], WORDS[:3]
    job = {"do": "rank", "query": query, "documents": documents}
    wanted = sentence_transformers.ask(model=str(path), **job)["scores"]

    for form in (path, again):
        engine = vectors.load(form).engine
        pairs = engine.rerank_pairs(query, documents, None, None)
        found: dict[int, float] = {}
        while len(found) < len(documents):
            found |= dict(engine.rerank(pairs))
        np.testing.assert_allclose([found[n] for n in range(3)], wanted, atol=CLOSE)
