"""The blocking facade."""

from __future__ import annotations

import os
import signal
import threading

import pytest

import mlxwire
from mlxwire import sync
from support.patience import PATIENCE_SECONDS


@pytest.fixture
def worker():
    with sync.Worker(engine="mock") as worker:
        yield worker


def test_a_session_needs_no_loop_of_the_caller(worker):
    model = worker.load("p")
    with model.chat("one two three") as stream:
        assert [token.text for token in stream] == ["one", " two", " three"]
    assert stream.done.finish_reason == "stop"
    assert model.metrics == stream.done.metrics
    assert model.generate("a b").text() == "a b"
    assert model.info().path == "p"
    assert [result.index for result in model.classify(["x"])] == [0]
    assert worker.metrics().requests >= 3
    assert worker.hello.worker.pid == worker.pid
    model.close()
    with pytest.raises(mlxwire.ModelNotLoaded):
        model.info()


def test_a_batch_gives_a_result_for_each_prompt(worker):
    model = worker.load("p")
    assert [result.text for result in model.batch(["a", "b"]).results()] == ["a", "b"]
    told = []
    with model.batch(["a b", "c"], on_token=told.append) as batch:
        texts = {result.index: result.text for result in batch}
    assert texts == {0: "a b", 1: "c"}
    assert batch.done.tokens_generated == len(told) == 3


def test_cache_and_memory_answer_too(worker):
    model = worker.load("p")
    assert model.cache.warm("a b").affected == 2
    assert model.tokenize("a b").count == model.tokenize_chat("a b", count_only=True).count == 2
    assert model.detokenize(model.tokenize("a b").ids) == "a b"
    assert model.cache.clear().entries == model.cache.stats().entries == 0
    for refused in (model.cache.save, model.cache.load):
        with pytest.raises(mlxwire.UnsupportedCapability):
            refused("f")
    assert worker.memory(clear=True).active_bytes > 0


def test_leaving_early_cancels(worker):
    model = worker.load("p")
    with model.generate("a b", ignore_eos=True, max_tokens=8000) as stream:
        next(stream)
    assert stream.done.finish_reason in ("cancelled", "length")
    with (
        pytest.raises(ZeroDivisionError),
        model.generate("a b", ignore_eos=True, max_tokens=8000) as stream,
    ):
        raise ZeroDivisionError
    assert worker.cancel().outcome in ("accepted", "finished", "unknown")


def test_no_thread_and_no_descriptor_is_left():
    def once():
        with sync.Worker(engine="mock") as worker:
            worker.load("p")

    once()
    before = threading.active_count(), len(os.listdir("/dev/fd"))
    for _ in range(5):
        once()
    assert (threading.active_count(), len(os.listdir("/dev/fd"))) == before


def test_everything_is_harmless_after_close(script):
    worker = sync.Worker(script("ignores_cancel"))
    worker.close()
    with pytest.raises(mlxwire.NotInitialized, match="not been started"):
        worker.metrics()
    with worker:
        model = worker.load("p")
        stream = model.generate("p")
        next(stream)
    worker.close()
    stream.close()
    model.close()
    with pytest.raises(mlxwire.RequestCancelled):
        next(stream)
    with pytest.raises(mlxwire.ShuttingDown):
        model.info()
    with pytest.raises(RuntimeError, match="started before"):
        worker.start()


def test_a_start_that_fails_leaves_no_thread(script):
    before = threading.active_count()
    with pytest.raises(mlxwire.HandshakeFailed):
        sync.Worker(script("early_exit")).start()
    assert threading.active_count() == before


def test_a_callback_that_calls_back_is_refused_and_does_not_hang(script):
    caught = []

    def listen(_):
        try:
            worker.metrics()
        except RuntimeError as error:
            caught.append(error)

    worker = sync.Worker(script("good"), on_stderr=listen)
    with worker:
        pass
    assert "callback" in str(caught[0])


def test_ctrl_c_in_a_stream_cancels_it(script):
    cancelled = threading.Event()
    waiting = threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def listen(line):
        if "cancel" in line:
            cancelled.set()

    def interrupt():
        waiting.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def consume(stream):
        with stream:
            assert next(stream).text == "t"
            waiting.set()
            next(stream)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    try:
        with sync.Worker(script("tells_of_cancels"), on_stderr=listen) as worker:
            model = worker.load("p")
            with pytest.raises(KeyboardInterrupt):
                consume(model.generate("p"))
            assert cancelled.wait(PATIENCE_SECONDS)
    finally:
        interrupter.join()
        signal.signal(signal.SIGINT, before)


def test_several_threads_share_one_worker(worker):
    model = worker.load("p")
    texts = [f"thread {number}" for number in range(8)]
    got = {}

    def ask(text):
        got[text] = model.generate(text).text()

    threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {text: text for text in texts}


def test_leaving_a_loop_cancels_though_the_stream_is_held(script):
    cancelled = threading.Event()
    with sync.Worker(script("tells_of_cancels"), on_stderr=lambda _: cancelled.set()) as worker:
        stream = worker.load("p").generate("p")
        for token in stream:
            assert token.text == "t"
            break
        assert cancelled.wait(PATIENCE_SECONDS)
        with pytest.raises(RuntimeError, match="iterated before"):
            list(stream)


def test_the_text_may_be_asked_for_again(worker):
    stream = worker.load("p").generate("a b")
    assert stream.text() == stream.text() == "a b"
