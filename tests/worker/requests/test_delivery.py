"""A request's messages between the worker and a host's credit."""

from __future__ import annotations

import pytest

from mlxwire_protocol.messages import MAX_SAFE_INTEGER
from mlxwire_protocol.results import OkResult
from mlxwire_worker.requests.delivery import Delivery


def test_messages_past_the_window_are_held_in_order_until_credit_comes() -> None:
    sent: list[bytes] = []
    delivery = Delivery(sent.append, 1)
    for line in (b"1", b"2", b"3", b"4"):
        delivery.message(line)
    assert (sent, delivery.held, delivery.held_bytes) == ([b"1"], 3, 3)

    assert delivery.grant(2) == 0
    assert (sent, delivery.held, delivery.held_bytes) == ([b"1", b"2", b"3"], 1, 1)
    assert delivery.grant(2) == 1
    assert sent == [b"1", b"2", b"3", b"4"]


def test_progress_takes_no_credit_and_is_not_held() -> None:
    sent: list[bytes] = []
    delivery = Delivery(sent.append, 1)
    delivery.advice(b"progress")
    delivery.message(b"1")
    delivery.advice(b"late progress")

    assert sent == [b"progress", b"1"]
    assert not delivery.held


def test_credit_never_passes_what_a_client_can_read() -> None:
    delivery = Delivery(lambda _: None, 1)

    for _ in range(2):
        assert delivery.grant(MAX_SAFE_INTEGER) == MAX_SAFE_INTEGER


def test_only_what_is_held_at_once_makes_a_delivery_overfull_and_it_stays_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlxwire_worker.requests.delivery.MAX_HELD_BYTES", 10)
    delivery = Delivery(lambda _: None, 0)
    for _ in range(3):
        delivery.message(b"x" * 8)
        delivery.grant(1)
    assert not delivery.overfull

    delivery.message(b"x" * 11)
    delivery.grant(1)
    delivery.message(b"x")

    assert delivery.overfull


def test_a_delivery_that_is_dropped_forgets_all_and_counts_the_tokens() -> None:
    delivery = Delivery(lambda _: None, 1)
    for tokens in (1, 1, 5):
        delivery.message(b"x", tokens)
    delivery.final = OkResult(id="r")

    assert delivery.drop() == 6
    assert (delivery.held, delivery.held_bytes, delivery.final) == (0, 0, None)


def test_an_open_delivery_sends_what_it_held_and_holds_no_more() -> None:
    sent: list[bytes] = []
    delivery = Delivery(sent.append, 1)
    for line in (b"1", b"2", b"3"):
        delivery.message(line)

    delivery.open()
    delivery.message(b"4")

    assert sent == [b"1", b"2", b"3", b"4"]
