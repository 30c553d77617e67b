"""Long texts are encoded without the interpreter's lock: the worker hears its host meanwhile."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest
from tokenizers import Tokenizer

from mlxwire_worker.mlx_engine.text.fast_tokenizer import encode_ids, encode_with_offsets
from support.repository import ROOT

LONG = "Once upon a time there was a cat. " * 30_000


@pytest.mark.parametrize(
    "encode", [partial(encode_ids, add_special_tokens=True), encode_with_offsets]
)
def test_another_thread_runs_while_a_long_text_is_encoded(
    encode: Callable[[Tokenizer, str], object],
) -> None:
    fast = Tokenizer.from_file(str(ROOT / "testdata" / "tiny" / "tokenizer.json"))
    begin = threading.Event()
    ran: list[bool] = []

    def run() -> None:
        begin.wait()
        ran.append(True)

    other = threading.Thread(target=run)
    other.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e6)  # the lock is given away by nobody who computes in Python
    try:
        begin.set()
        before = bool(ran)
        encode(fast, LONG)
        during = bool(ran)
    finally:
        sys.setswitchinterval(interval)
    other.join()

    assert not before
    assert during
