"""The bytes that recorded operations take at once: views, results in place, operations sent ahead."""

from __future__ import annotations

from mlxwire_worker.mlx_engine.fitting.lifetimes import most_bytes
from mlxwire_worker.mlx_engine.fitting.tracing import Array, Operation, Pass


def recorded(*lines: str, kept: str = "") -> Pass:
    """Record operations like ``Add x8 y8 z8``: a kind, inputs, and the one result last."""
    operations = []
    for line in lines:
        kind, *arrays = line.split()
        *inputs, output = (Array(text[0], int(text[1:])) for text in arrays)
        operations.append(Operation(kind, inputs, [output]))
    return Pass(operations, frozenset(kept))


def test_results_that_are_needed_at_once_add_up() -> None:
    done = recorded("Matmul x8 a100", "Matmul x8 b10", "Matmul a100 b10 c1")

    assert most_bytes(done) == 111
    assert most_bytes(done, ahead=1) == 111


def test_an_array_stays_while_operations_are_sent_ahead() -> None:
    chain = recorded(
        "Matmul x8 a100", "Matmul a100 b100", "Matmul b100 c100", "Matmul c100 d100"
    )

    assert most_bytes(chain, ahead=1) == 200
    assert most_bytes(chain, ahead=2) == 300
    assert most_bytes(chain, ahead=9) == 400


def test_an_operation_writes_into_an_input_that_nothing_else_uses() -> None:
    assert most_bytes(recorded("Matmul x8 a100", "Exp a100 b100", "Exp b100 c100")) == 100
    assert most_bytes(recorded("Matmul x8 a100", "Exp a100 b100", "Add a100 b100 c100")) == 200
    assert most_bytes(recorded("Matmul x8 a100", "AsType a100 b50")) == 150


def test_views_take_nothing_and_a_copy_of_a_disordered_view_does() -> None:
    assert most_bytes(recorded("Matmul x8 a100", "Reshape a100 b100", "Exp b100 c100")) == 100
    assert most_bytes(recorded("Matmul x8 a100", "Transpose a100 b100")) == 100
    turned = recorded("Matmul x8 a100", "Transpose a100 b100", "Reshape b100 c100")
    assert most_bytes(turned) == 200


def test_caches_are_none_of_the_pass() -> None:
    written = recorded("Matmul x8 a10", "SliceUpdate k500 a10 z500", kept="z")
    grown = recorded("Matmul x8 a10", "Concatenate k500 a10 z510", kept="z")

    assert most_bytes(written) == most_bytes(grown) == 10
