from __future__ import annotations

import mlx.core as mx
import pytest
from mlx_lm.models.base import create_attention_mask

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.models import unserved


def test_phi3small_is_refused_with_its_reason() -> None:
    with pytest.raises(WireError) as caught:
        unserved.check_served("phi3small")
    assert caught.value.code == "unsupported_model"
    assert caught.value.data["reason"] == "wrong_in_mlx_lm"


def test_the_mask_that_phi3small_adds_to_its_scores_is_still_of_booleans() -> None:
    mask = create_attention_mask(mx.zeros((1, 5, 8)), None, return_array=True)
    assert mask.dtype == mx.bool_  # if not, see whether the refusal is still right


@pytest.mark.parametrize("installed", [False, True])
def test_an_olmo_needs_its_package(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unserved, "find_spec", lambda _: object() if installed else None)
    if installed:
        unserved.check_served("olmo")
        return
    with pytest.raises(WireError) as caught:
        unserved.check_served("olmo")
    assert caught.value.data["reason"] == "missing_package"


def test_other_architectures_pass() -> None:
    unserved.check_served("llama")
