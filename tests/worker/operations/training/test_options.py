"""The options of the wire and those of the program, which are two tables with the same content."""

from __future__ import annotations

from typing import Literal, get_origin, get_type_hints

import pytest
from msgspec import Struct
from msgspec.structs import fields

from mlxwire_protocol.training.requests import Evaluate, Train
from mlxwire_worker.operations.training.child_task import KEPT_FROM_PROGRAM
from mlxwire_worker.training.spec import EvaluateOptions, TrainOptions


@pytest.mark.parametrize(
    ("wire", "program"), [(Train, TrainOptions), (Evaluate, EvaluateOptions)]
)
def test_the_program_has_the_options_of_the_wire_with_their_defaults(
    wire: type[Struct], program: type[Struct]
) -> None:
    of_wire = {
        each.name: each.default for each in fields(wire) if each.name not in KEPT_FROM_PROGRAM
    }

    assert of_wire == {each.name: each.default for each in fields(program)}


def test_the_program_accepts_the_words_of_the_wire() -> None:
    of_wire, of_program = get_type_hints(Train), get_type_hints(TrainOptions)

    words = {name for name, hint in of_program.items() if get_origin(hint) is Literal}
    assert {name: of_wire[name] for name in words} == {name: of_program[name] for name in words}
    assert "method" in words
