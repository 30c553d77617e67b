"""A training as its caller sees it: progress, the result, a cancel and its checkpoint."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

import mlxwire
from mlxwire.requests.train_request import MOST_REPORTS, SAVING_SECONDS
from support.memory_worker import with_worker
from support.virtual_time import run

FIGURES = {
    "validation_loss": None,
    "learning_rate": 0.01,
    "tokens": 30,
    "seconds": 1.5,
    "tokens_per_second": 20.0,
    "peak_memory_bytes": 1000,
    "seconds_left": 4.5,
}
RESULT = {
    "adapter": "/out",
    "method": "lora",
    "format": "mlx",
    "first_loss": 3.0,
    "last_loss": 1.0,
    "validation_loss": None,
    "steps": 4,
    "tokens": 120,
    "rows": 8,
    "truncated_rows": 0,
    "seconds": 6.0,
    "peak_memory_bytes": 1000,
    "loaded_as": "poet",
}
SAVED = "/out/checkpoints/3"


def begin(worker, **options):
    return worker.model.train(Path("/data"), out=Path("/out"), **options)


def report(worker, request_id, step, stage="train", **fields):
    losses = {"step": step, "loss": 3.0 - step / 2, **FIGURES} if stage == "train" else {}
    worker.reply(
        request_id, type="progress", stage=stage, done=step, total=4, **{**losses, **fields}
    )


def finish(worker, request_id):
    worker.reply(request_id, type="result", final=True, **RESULT)


async def test_only_the_options_that_were_given_are_sent(memory):
    worker = await memory()
    options = {
        "iterations": 4,
        "evaluate_every": 0,
        "validation": Path("/more.jsonl"),
        "keys": ("q_proj",),
        "layers": None,
        "resume": True,
        "load_as": "poet",
    }
    async with begin(worker, **options) as training:
        request = await worker.process.request("train")
        finish(worker, request["id"])
        await training.result()
    assert request == {
        "id": training.id,
        "cmd": "train",
        "data": "/data",
        "out": "/out",
        "iterations": 4,
        "evaluate_every": 0,
        "validation": "/more.jsonl",
        "keys": ["q_proj"],
        "resume": True,
        "load_as": "poet",
    }


async def test_the_stream_yields_the_steps_and_the_callback_hears_every_stage(memory):
    worker, stages = await memory(), []
    async with begin(worker, on_progress=lambda told: stages.append(told.stage)) as training:
        request = await worker.process.request("train")
        report(worker, request["id"], 1, "check")
        report(worker, request["id"], 1)
        report(worker, request["id"], 2, validation_loss=1.25)
        finish(worker, request["id"])
        steps = [(step.step, step.loss, step.validation_loss) async for step in training]
        result = await training.result()
    assert steps == [(1, 2.5, None), (2, 2.0, 1.25)]
    assert stages == ["check", "train", "train"]
    assert (result.loaded_as, result.last_loss) == ("poet", 1.0)
    assert await training.result() == result


async def test_a_result_is_kept_when_the_block_is_left_with_progress_not_taken(memory):
    worker = await memory()
    async with begin(worker) as training:
        request = await worker.process.request("train")
        report(worker, request["id"], 1)
        finish(worker, request["id"])
    assert (await training.result()).adapter == "/out"


async def test_a_cancel_waits_for_the_checkpoint_and_names_it(memory):
    worker = await memory()
    training = begin(worker)
    reading = asyncio.create_task(training.result())
    request = await worker.process.request("train")
    cancelling = asyncio.create_task(training.cancel())
    cancel = await worker.process.request("cancel")
    assert cancel["target"] == request["id"]
    assert not cancelling.done()
    worker.reply(cancel["id"], type="result", final=True, outcome="accepted", cancelled=1)
    worker.done(request["id"], "cancelled", stage="train", checkpoint=SAVED)
    assert await cancelling == SAVED
    with pytest.raises(mlxwire.RequestCancelled, match="resume") as caught:
        await reading
    assert caught.value.data["checkpoint"] == training.checkpoint == SAVED


async def test_two_cancels_send_one(memory):
    worker = await memory()
    training = begin(worker)
    async with training:
        request = await worker.process.request("train")
        both = asyncio.gather(training.cancel(), training.cancel())
        await worker.process.request("cancel")
        worker.done(request["id"], "cancelled", stage="queued")
        assert await both == [None, None]
    assert [each["cmd"] for each in worker.process.requests].count("cancel") == 0


async def test_a_training_that_was_not_sent_is_not_cancelled_in_the_worker(memory):
    worker = await memory()
    training = begin(worker)
    assert await training.cancel() is None
    with pytest.raises(mlxwire.RequestCancelled):
        await training.result()
    assert "train" not in [each["cmd"] for each in worker.process.requests]


async def test_leaving_the_block_waits_for_the_checkpoint(memory):
    worker = await memory()

    async def leave():
        async with begin(worker) as training:
            async for _ in training:
                break
        return training.checkpoint

    leaving = asyncio.create_task(leave())
    request = await worker.process.request("train")
    report(worker, request["id"], 1)
    await worker.process.request("cancel")
    worker.done(request["id"], "cancelled", stage="train", checkpoint=SAVED)
    assert await leaving == SAVED


async def test_a_training_that_nobody_refers_to_is_cancelled(memory):
    worker = await memory()
    training = begin(worker)
    await training.__aenter__()
    request = await worker.process.request("train")
    del training
    gc.collect()
    assert (await worker.process.request("cancel"))["target"] == request["id"]


async def test_a_failed_training_names_its_last_good_checkpoint(memory):
    worker = await memory()
    async with begin(worker) as training:
        request = await worker.process.request("train")
        worker.error(request["id"], "training_failed", checkpoint=SAVED, step=4)
        with pytest.raises(mlxwire.TrainingFailed) as caught:
            await training.result()
    assert caught.value.data == {"checkpoint": SAVED, "step": 4}
    assert training.checkpoint == SAVED


async def test_progress_that_nobody_takes_is_bounded_and_its_newest_kept(memory):
    worker = await memory()
    async with begin(worker) as training:
        request = await worker.process.request("train")
        for step in range(MOST_REPORTS + 5):
            report(worker, request["id"], step, loss=1.0)
        finish(worker, request["id"])
        steps = [told.step async for told in training]
    assert (steps[0], steps[-1], len(steps)) == (5, MOST_REPORTS + 4, MOST_REPORTS)


def test_the_limits_of_other_requests_do_not_end_a_training():
    async def test(worker):
        training = begin(worker)
        reading = asyncio.create_task(training.result())
        request = await worker.process.request("train")
        await asyncio.sleep(1000)
        finish(worker, request["id"])
        assert (await reading).steps == 4

    run(with_worker(test, request_timeout=5, idle_timeout=5))


def test_a_training_has_its_own_timeout():
    async def test(worker):
        with pytest.raises(mlxwire.RequestTimeout):
            await begin(worker, timeout=7).result()
        assert await worker.process.request("cancel")

    run(with_worker(test))


def test_a_cancelled_training_may_take_long_to_save():
    async def test(worker):
        training = begin(worker)
        reading = asyncio.create_task(training.result())
        request = await worker.process.request("train")
        reading.cancel()
        await worker.process.request("cancel")
        await asyncio.sleep(SAVING_SECONDS - 1)
        worker.done(request["id"], "cancelled", stage="train", checkpoint=SAVED)
        await asyncio.sleep(0)
        await training.aclose()
        assert training.checkpoint == SAVED

    run(with_worker(test, drain=1.0))


async def test_evaluate_sends_its_options_and_returns_the_figures(memory):
    worker = await memory(request_timeout=0.001)
    asking = asyncio.create_task(
        worker.model.evaluate(Path("/data"), adapter="poet", mask_prompt=False)
    )
    request = await worker.process.request("evaluate")
    told = {
        "loss": 1.0,
        "perplexity": 2.718,
        "tokens": 9,
        "rows": 2,
        "truncated_rows": 0,
        "seconds": 0.5,
    }
    worker.reply(request["id"], type="result", final=True, **told)
    sent = {"data": "/data", "adapter": "poet", "mask_prompt": False}
    assert request == {"id": request["id"], "cmd": "evaluate", **sent}
    assert (await asking).perplexity == 2.718


async def test_an_option_of_the_client_itself_is_refused(memory):
    worker = await memory()
    with pytest.raises(mlxwire.InvalidParams, match="window"):
        begin(worker, window=3)
