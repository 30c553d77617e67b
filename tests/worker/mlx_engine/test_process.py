"""Whole lives of workers with models: through every family, and cancels amid prefill and decode."""

from __future__ import annotations

from pathlib import Path

import pytest

from factories import FAMILIES, build_model
from support.conversation import Message
from support.model_worker import Models, ModelWorker

STEPS_UNDER_WAY = 2
"""Those that a cancel may come too late for: the one computed now, and the one begun behind it."""
MESSAGES = [{"role": "user", "content": "What is 2 + 3?"}]


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a model whose prefill of ten thousand tokens takes long."""
    config = {"max_position_embeddings": 16384, "num_hidden_layers": 3}
    return build_model("llama3", tmp_path_factory.mktemp("long"), config=config)


def test_one_worker_goes_through_all_models_and_ends_in_order(models: Models) -> None:
    with ModelWorker() as walker:
        for family in FAMILIES:
            for quantized in (False, True):
                path = models(family, quantized)
                loaded = walker.load(str(path))
                assert walker.ask("info")["path"] == loaded["path"] == str(path)
                text, ids = walker.chat(MESSAGES, max_tokens=12)
                assert text
                assert len(ids) == 12
                assert walker.ask("unload")["ok"] is True
                assert walker.refusal("info")["code"] == "model_not_loaded"
        assert walker.ask("quit")["ok"] is True
        assert walker.wait() == 0
        assert walker.stderr() == ""


def test_memory_does_not_grow_from_load_to_load(worker: ModelWorker, models: Models) -> None:
    def used() -> int:
        worker.load(str(models("gemma3")))
        worker.generate("Hello", max_tokens=8)
        active: int = worker.ask("metrics")["active_memory_bytes"]
        return active

    first = used()
    later = [used() for _ in range(4)]
    worker._loaded = ()

    assert max(later) <= first * 1.1


def test_a_cancel_in_a_long_prefill_ends_it_after_the_chunk_that_is_under_way(
    worker: ModelWorker, long_model: Path
) -> None:
    worker.use(long_model)
    for turn in range(3):
        request = worker.send("generate", prompt=f"{turn} 2 3 4 5 " * 1500, max_tokens=10)
        worker.until(
            lambda message: message.get("stage") == "prefill" and message["done"] > 1000,
            request,
        )
        late = cancelled(worker, request)
        (final,) = worker.finals(request)

        assert (final["finish_reason"], final["stage"]) == ("cancelled", "prefill")
        assert final["tokens_generated"] == 0
        assert len(late) <= STEPS_UNDER_WAY


def cancelled(worker: ModelWorker, request: str) -> list[Message]:
    """Cancel a request; return what came of it after the cancel's result and before its final."""
    cancel = worker.send("cancel", target=request)
    worker.final(request)
    heard = worker.order.index(worker.final(cancel))
    return [message for message in worker.order[heard:-1] if message["id"] == request]


def test_prefill_progress_tells_tokens_up_to_the_prompts_length(
    worker: ModelWorker, long_model: Path
) -> None:
    worker.use(long_model)
    request = worker.send("generate", prompt="1 2 3 4 5 " * 400, max_tokens=1)
    final = worker.final(request)

    told = [m for m in worker.messages[request] if m["type"] == "progress"]
    done = [message["done"] for message in told]
    assert told
    assert done == sorted(set(done))
    assert {message["total"] for message in told} == {final["metrics"]["prompt_tokens"]}
    assert done[-1] <= final["metrics"]["prompt_tokens"]


def test_a_cancel_in_decode_ends_it_with_the_step_that_is_under_way(
    worker: ModelWorker, long_model: Path
) -> None:
    worker.use(long_model)
    for _ in range(10):
        request = worker.send("generate", prompt="Hello", max_tokens=10**6, ignore_eos=True)
        worker.first_token(request)
        late = cancelled(worker, request)
        (final,) = worker.finals(request)
        assert (final["finish_reason"], final["stage"]) == ("cancelled", "decode")
        tokens = [m for m in worker.messages[request] if m["type"] == "token"]
        assert final["tokens_generated"] == len([t for t in tokens if not t.get("flush")])
        assert len(late) <= STEPS_UNDER_WAY


def test_after_a_cancel_the_same_request_gives_the_same_answer(
    worker: ModelWorker, long_model: Path
) -> None:
    worker.use(long_model)
    prompt = "1 2 3 4 5 " * 300
    whole = worker.generate(prompt, max_tokens=8)
    request = worker.send("generate", prompt=prompt, max_tokens=8)
    worker.send("cancel", target=request)
    worker.final(request)

    assert worker.generate(prompt, max_tokens=8) == whole


def test_end_of_input_ends_a_worker_in_its_prefill(long_model: Path) -> None:
    with ModelWorker() as fresh:
        fresh.use(long_model)
        request = fresh.send("generate", prompt="1 2 3 4 5 " * 1500)
        fresh.until(lambda message: message.get("stage") == "prefill", request)
        fresh.close_stdin()
        fresh.drain()

        assert fresh.wait() == 0
        assert len(fresh.finals(request)) == 1
