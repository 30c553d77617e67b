"""`mlxwire doctor MODEL`: what a model needs, what there is, and what to change."""

from __future__ import annotations

import json

import msgspec
import pytest

from mlxwire.cli.memory_check import MemoryCheck
from mlxwire_protocol.models.replies import FitResult
from support.tiny_model import TINY, needs_tiny

from .conftest import MOCK

MLX = MOCK.replace("mock", "mlx")


def test_a_model_that_fits_has_its_figures_in_a_table_and_as_json(invoke):
    asked = ("doctor", "m", "--context-len", "1000", "--slots", "2")
    shown = invoke(*asked)
    told = json.loads(invoke(*asked, "--json").stdout)

    assert shown.exit_code == 0, shown.stderr
    assert "(2 slots of 1,000 tokens)" in shown.stdout
    assert "fits; the longest context is 131,072 tokens" in shown.stdout
    fit = told["model"]["fit"]
    assert {*fit} == {*FitResult.__struct_fields__} - {"id", "final"}
    assert (fit["context_len"], fit["parallel_slots"], fit["fits"]) == (1000, 2, True)
    assert told["ok"]


def test_a_model_that_does_not_fit_comes_with_what_to_change(invoke):
    result = invoke("doctor", "m", "--slots", "4096", "--json")
    told = json.loads(result.stdout)

    assert result.exit_code == 1
    longest = told["model"]["fit"]["max_context_len"]
    assert 0 < longest < told["model"]["fit"]["context_len"]
    (problem,) = told["problems"]
    for remedy in (f"--context-len {longest}", "fewer --slots", "--kv-bits 8"):
        assert remedy in problem


def test_remedies_read_as_one_sentence_also_where_no_context_fits():
    too_large = FitResult(
        id="1",
        path="m",
        model_type="llama",
        compute_dtype="float32",
        kv_bits=0,
        context_len=512,
        parallel_slots=2,
        weight_bytes=1 << 30,
        bytes_per_token=0,
        sequence_bytes=0,
        cache_bytes=0,
        scratch_bytes=0,
        total_bytes=1 << 30,
        available_bytes=1 << 29,
        fits=False,
        max_context_len=0,
    )
    smaller = msgspec.structs.replace(too_large, compute_dtype="bfloat16", fits=True)

    (problem,) = MemoryCheck(chosen=too_large, others=[smaller]).problems

    assert problem.endswith("; give --compute-dtype bfloat16, or give fewer --slots")


@pytest.mark.parametrize(
    ("typed", "code", "named"),
    [
        (("--context-len", "0"), 2, "--context-len"),
        (("--context-len", "many"), 2, "`auto`"),
        (("--slots", "0"), 2, "--slots"),
        (("--kv-bits", "5"), 1, "--kv-bits"),
        (("--kv-bits", "4", "--kv-group-size", "7"), 1, "--kv-group-size"),
        (("--compute-dtype", "int8"), 1, "--compute-dtype"),
    ],
)
def test_a_wrong_option_is_named_as_it_was_typed(invoke, typed, code, named):
    result = invoke("doctor", "m", *typed)

    assert result.exit_code == code
    assert named in result.stderr


@needs_tiny
@pytest.mark.parametrize("command", [("doctor",), ("chat", "--quiet")])
def test_a_group_size_that_an_error_asks_for_can_be_typed(invoke, command):
    asked = (command[0], str(TINY), *(["What is 2 + 3?"] if command[0] == "chat" else []))
    refused = invoke(*asked, *command[1:], "--kv-bits", "4", worker=MLX)
    taken = invoke(*asked, *command[1:], "--kv-bits", "4", "--kv-group-size", "32", worker=MLX)

    assert refused.exit_code == 1
    assert "`--kv-group-size` is 64" in refused.stderr
    assert "32" in refused.stderr
    assert taken.exit_code == 0, taken.stderr
    assert ("in 4 bits" if command[0] == "doctor" else "5\n") in taken.stdout


@needs_tiny
def test_each_dtype_has_its_figures_and_one_that_is_asked_for_stands_alone(invoke):
    told = json.loads(invoke("doctor", str(TINY), "--json", worker=MLX).stdout)["model"]
    alone = invoke("doctor", str(TINY), "--compute-dtype", "float16", "--json", worker=MLX)

    others = {other["compute_dtype"]: other["weight_bytes"] for other in told["other_dtypes"]}
    sizes = {told["fit"]["compute_dtype"]: told["fit"]["weight_bytes"], **others}
    assert sizes["float32"] == 2 * sizes["bfloat16"] == 2 * sizes["float16"]
    model = json.loads(alone.stdout)["model"]
    assert (model["fit"]["compute_dtype"], model["other_dtypes"]) == ("float16", [])


@needs_tiny
def test_the_longest_context_that_fits_is_taken_by_a_load(invoke):
    facts = json.loads(
        invoke("info", str(TINY), "--context-len", "auto", "--json", worker=MLX).stdout
    )

    assert facts["context_len"] == 8192
