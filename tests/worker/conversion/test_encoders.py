"""Encoders of the BERT family: converted like other models, under the names of their tensors."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from factories.encoders import build_encoder
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.encoders.families import read_shape
from mlxwire_worker.mlx_engine.models.preflight import check_model
from support.conversion import config_of, converted
from support.model_worker import ModelWorker

TEXTS = ["The weather in Paris is fine.", "A cat sits by the window."]
KINDS = ["bert", "roberta", "distilbert", "mpnet", "electra"]


def vectors(worker: ModelWorker, folder: Path) -> mx.array:
    request = worker.use(folder).send("embed", texts=TEXTS)
    worker.final(request)
    items = [m for m in worker.messages[request] if m["type"] == "item"]
    return mx.array(
        [item["embedding"] for item in sorted(items, key=lambda item: item["index"])]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_in_another_form_embeds_nearly_the_same(
    worker: ModelWorker, tmp_path: Path, kind: str
) -> None:
    source = build_encoder(kind, tmp_path / "source", prefix=True)
    before = vectors(worker, source)

    plain = converted(source, tmp_path / "plain")
    packed = converted(source, tmp_path / "packed", bits=8, group_size=32)
    again = converted(tmp_path / "packed", tmp_path / "again", dequantize=True)

    assert (plain["quantization"], again["quantization"]) == (None, None)
    assert packed["quantization"] == {"bits": 8, "group_size": 32, "mode": "affine"}
    assert plain["parameters"] == packed["parameters"] == again["parameters"]
    assert mx.allclose(vectors(worker, tmp_path / "plain"), before, atol=1e-5)
    for name in ("packed", "again"):
        cosines = (vectors(worker, tmp_path / name) * before).sum(axis=-1)
        assert (cosines > 0.99).all().item(), cosines
    assert (tmp_path / "packed/1_Pooling/config.json").is_file()


def test_its_tensors_keep_the_names_that_other_programs_read(tmp_path: Path) -> None:
    source = build_encoder("bert", tmp_path / "source", labels=2)
    names = set(check_model(source).tensors)

    converted(source, tmp_path / "out", dtype="float16")

    found = check_model(tmp_path / "out").tensors
    assert set(found) <= names
    assert {tensor.dtype for tensor in found.values()} == {"F16"}
    config = config_of(tmp_path / "out")
    assert read_shape(config).labels == 2
    assert config["architectures"] == config_of(source)["architectures"]


@pytest.mark.parametrize(
    ("options", "field"), [({"mixed": "mixed_3_6", "group_size": 32}, "mixed"), ({}, "text")]
)
def test_what_an_encoder_does_not_have_is_refused(
    tmp_path: Path, options: dict[str, object], field: str
) -> None:
    source = build_encoder("bert", tmp_path / "source")
    (tmp_path / "text").write_text("The weather")
    given = options or {"text": str(tmp_path / "text")}

    with pytest.raises(WireError) as refused:
        converted(source, tmp_path / "out", **given)

    assert (refused.value.code, refused.value.field) == ("invalid_params", field)
    assert not (tmp_path / "out").exists()
