"""Vectors of each family of encoders against numpy, for each way to pool and to store them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from factories.encoders import ENCODERS, build_encoder, quantize_encoder
from support.encoder_reference import EncoderReference, pooled
from support.vectors import Vectors

TEXTS = ["The cat sat on the mat.", "a dog", "not", " ", "is a baby not a cat ? " * 3]
CLOSE = 2e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoders")


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("kind", ENCODERS)
def test_vectors_of_a_family_are_those_of_its_formulas(
    vectors: Vectors, folder: Path, kind: str, prefix: bool
) -> None:
    path = build_encoder(kind, folder / f"{kind}-{prefix}", prefix=prefix)
    truth = EncoderReference(path)

    found = vectors.load(path).embed(*TEXTS)

    wanted = [pooled(truth.states(truth.ids(text)), "mean") for text in TEXTS]
    np.testing.assert_allclose(found, wanted, atol=CLOSE)
    assert vectors.info.model_type == kind
    assert vectors.info.pooling == "mean"
    assert vectors.info.parameters == sum(
        array.size for name, array in truth.tensors.items() if not name.startswith("pooler")
    )


@pytest.mark.parametrize(
    "pooling", ["cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken"]
)
def test_a_folder_s_pooling_is_honoured(vectors: Vectors, folder: Path, pooling: str) -> None:
    path = build_encoder("bert", folder / pooling, pooling=pooling, normalize=False)
    truth = EncoderReference(path)

    found = vectors.load(path).embed(*TEXTS)

    wanted = [pooled(truth.states(truth.ids(t)), pooling, normalize=False) for t in TEXTS]
    np.testing.assert_allclose(found, wanted, atol=20 * CLOSE)


def test_a_text_s_vector_does_not_depend_on_the_texts_beside_it(
    vectors: Vectors, folder: Path
) -> None:
    vectors.load(build_encoder("xlm-roberta", folder / "beside"))
    texts = [" ".join(["cat dog mat"] * count) for count in (1, 9, 2, 4, 3)] + TEXTS[:4]

    together = vectors.embed(*texts)

    alone = [vectors.embed(text)[0] for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_padding_written_in_a_text_has_no_position(vectors: Vectors, folder: Path) -> None:
    path = build_encoder("roberta", folder / "padding")
    truth = EncoderReference(path)
    ids = [0, 5, 1, 1, 6, 2]

    found = vectors.load(path).embed(ids, ids[:2])

    np.testing.assert_allclose(found[0], pooled(truth.states(ids), "mean"), atol=CLOSE)


@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_weights_give_nearly_the_same_vectors(
    vectors: Vectors, folder: Path, bits: int
) -> None:
    plain = build_encoder("bert", folder / f"plain{bits}")
    path = quantize_encoder(plain, folder / f"q{bits}", bits=bits)
    wanted = vectors.load(plain).embed(*TEXTS)

    found = vectors.load(path, compute_dtype="stored").embed(*TEXTS)

    assert (vectors.info.quant_bits, vectors.info.quant_group) == (bits, 32)
    likeness = (found * wanted).sum(axis=-1)
    assert likeness.min() > (0.99 if bits == 8 else 0.7)
    expanded = vectors.load(path, compute_dtype="float32").embed(*TEXTS)
    np.testing.assert_allclose(expanded, found, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "dtype", "close"), [("bfloat16", "bfloat16", 0.03), ("float16", "float16", 0.01)]
)
def test_narrower_dtypes_give_nearly_the_same_vectors(
    vectors: Vectors, folder: Path, option: Any, dtype: str, close: float
) -> None:
    path = build_encoder("mpnet", folder / option)
    wanted = vectors.load(path, compute_dtype="float32").embed(*TEXTS)

    found = vectors.load(path, compute_dtype=option).embed(*TEXTS)

    assert vectors.info.compute_dtype == dtype
    np.testing.assert_allclose(found, wanted, atol=close)


def test_a_long_text_is_computed_in_slices_and_in_parts(
    vectors: Vectors, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlxwire_worker.mlx_engine.encoders import bert

    vectors.load(build_encoder("mpnet", folder / "long"))
    texts = ["cat dog mat " * 10, "a baby"]
    wanted = vectors.embed(*texts)
    monkeypatch.setattr(bert, "MOST_SCORES", 700)
    monkeypatch.setattr(bert, "LEAST_QUERIES", 5)
    encoder = vectors.engine._encoder
    assert encoder is not None
    encoder.chunk.tokens = 4

    found = vectors.embed(*texts)

    assert vectors.slices > 4
    np.testing.assert_allclose(found, wanted, atol=CLOSE)


def test_older_names_of_norms_are_read(vectors: Vectors, folder: Path) -> None:
    path = build_encoder("bert", folder / "older")
    wanted = vectors.load(path).embed(*TEXTS)
    stored: Any = mx.load(str(path / "model.safetensors"))
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): array
        for name, array in stored.items()
    }
    renamed["embeddings.position_ids"] = mx.arange(40)[None]
    renamed["cls.predictions.bias"] = mx.zeros(4)
    other = build_encoder("bert", folder / "gamma")
    mx.save_safetensors(str(other / "model.safetensors"), renamed)

    np.testing.assert_array_equal(vectors.load(other).embed(*TEXTS), wanted)
