"""The client against the worker that ships, with the tiny model: what only both can show."""

from __future__ import annotations

import pytest

import mlxwire
from mlxwire import sync
from mlxwire.requests.route import WINDOW_MESSAGE_BYTES
from support.tiny_model import TINY, needs_tiny

pytestmark = needs_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder in which the worker may write."""
    return tmp_path_factory.mktemp("worker")


@pytest.fixture(scope="module")
def model(folder):
    """Yield the model of one worker for the whole file."""
    with sync.Worker(args=["--engine", "mlx", "--data-root", str(folder)]) as worker:
        model = worker.load(TINY, warmup=False)
        model.worker = worker
        yield model


def test_the_second_turn_of_a_chat_computes_its_new_text_alone(model):
    turns = [{"role": "user", "content": "Tell me a story about a cat and a dog."}]
    first = model.chat(turns, max_tokens=24)
    turns.append({"role": "assistant", "content": first.text()})
    turns.append({"role": "user", "content": "What is 2 + 3?"})
    second = model.chat(turns, max_tokens=8)
    second.text()
    assert second.done.metrics.cached_tokens >= first.done.metrics.prompt_tokens - 1
    third = model.chat(turns, max_tokens=8, cache=False)
    third.text()
    assert third.done.metrics.cached_tokens == 0


def test_a_batch_gives_what_its_prompts_give_alone_and_the_long_one_its_error(model):
    prompts = ["2 + 3 =", "x" * 20_000, "Tell me"]
    told = []
    results = model.batch(prompts, max_tokens=6, on_token=told.append).results()
    assert [result.index for result in results] == [0, 1, 2]
    for index in (0, 2):
        text = model.generate(prompts[index], max_tokens=6).text()
        assert results[index].text == text
        assert "".join(token.text for token in told if token.index == index) == text
    assert isinstance(results[1].error, mlxwire.ContextOverflow)


def test_texts_are_read_as_they_are_tokenized(model):
    ids = model.tokenize_chat("What is 2 + 3?").ids
    rendered = model.render("What is 2 + 3?")
    assert rendered.ids == ids
    assert rendered.messages[0].count == rendered.answer_start
    [score] = model.score([ids]).results()
    assert (score.token_ids, score.logprobs[0]) == (ids, None)
    whole, failed = model.embed([ids, "x" * 40_000], pooling="mean").results()
    assert (len(whole.vector), whole.tokens) == (model.info().hidden_size, len(ids))
    assert isinstance(failed.error, mlxwire.ContextOverflow)
    [answer] = model.classify(messages="What is 2 + 3?", labels=["5", "7"]).results()
    assert answer.label == "5"
    with pytest.raises(mlxwire.UnsupportedCapability, match="rerank"):
        model.rerank("q", ["d"])


def test_a_folder_is_described_and_predicted_as_it_is_loaded(model):
    [found] = model.worker.discover(TINY).results()
    info = model.info()
    assert (found.path, found.parameters) == (info.path, info.parameters)
    assert model.worker.fit(TINY, context_len=512).fits
    assert model.fit().context_len == info.context_len


def test_logprobs_bias_and_penalties_reach_the_engine(model):
    with model.generate("2 + 3 =", max_tokens=3, logprobs=True, top_logprobs=2) as stream:
        tokens = [token for token in stream if not token.flush]
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)
    assert tokens[0].top_logprobs[0].id == tokens[0].id
    with model.generate("2 + 3 =", max_tokens=3, logit_bias={7: 100}) as stream:
        assert next(stream).id == 7
    with pytest.raises(mlxwire.InvalidParams) as caught:
        model.generate("x", logit_bias={10**6: 1}).text()
    assert caught.value.field == "logit_bias.1000000"


def test_the_cache_is_cleared_warmed_saved_and_loaded(model, folder):
    model.generate("2 + 3 =", max_tokens=1).text()
    assert model.cache.clear().affected >= 1
    warmed = model.cache.warm(messages="Tell me a story about a ship.")
    assert warmed.affected > 0
    assert model.cache.save(folder / "cache.safetensors").affected == warmed.entries
    assert model.cache.clear().entries == 0
    assert model.cache.load(folder / "cache.safetensors").affected == warmed.entries
    stream = model.chat("Tell me a story about a ship.", max_tokens=2)
    stream.text()
    assert stream.done.metrics.cached_tokens > 0
    assert model.cache.stats().hits >= 1


def test_tokens_are_counted_as_the_requests_count_them(model):
    for options in ({}, {"special_tokens": True}):
        turns = [{"role": "user", "content": "Naïve <|im_end|> 🚀"}]
        stream = model.chat(turns, max_tokens=1, cache=False, **options)
        stream.text()
        told = model.tokenize_chat(turns, **options)
        assert told.count == len(told.ids) == len(told.pieces)
        assert told.count == stream.done.metrics.prompt_tokens
        assert model.tokenize_chat(turns, **options, count_only=True).count == told.count
    stream = model.generate("2 + 3 =", max_tokens=1, cache=False)
    stream.text()
    assert model.tokenize("2 + 3 =").count == stream.done.metrics.prompt_tokens


def test_a_texts_tokens_give_the_text_back(model):
    text = "Naïve <|im_end|> 🚀\n"
    plain = model.tokenize(text, special_tokens=False)
    assert "<|im_end|>" not in plain.pieces
    assert model.detokenize(plain.ids) == text
    assert "<|im_end|>" in model.tokenize(text).pieces
    with pytest.raises(mlxwire.InvalidParams) as caught:
        model.detokenize([1, 10**6])
    assert caught.value.field == "ids[1]"


def test_memory_is_told_and_limited(model):
    memory = model.worker.memory(buffer_limit=1 << 30, clear=True)
    assert memory.buffer_limit == 1 << 30
    assert 0 < memory.active_bytes <= memory.peak_bytes


def test_a_deadline_is_the_workers(model):
    with pytest.raises(mlxwire.DeadlineExceeded):
        model.generate("x", max_tokens=2000, ignore_eos=True, deadline_seconds=0.05).text()


async def test_a_sleeping_consumer_costs_the_others_nothing():
    async with mlxwire.Worker(engine="mlx", buffer_bytes=8 * WINDOW_MESSAGE_BYTES) as worker:
        model = await worker.load(TINY, warmup=False)
        alone = await model.generate("Tell me", max_tokens=40, ignore_eos=True).text()
        async with model.generate("2 + 3 =", max_tokens=200, ignore_eos=True) as asleep:
            await anext(asleep)
            beside = model.generate("Tell me", max_tokens=40, ignore_eos=True)
            assert await beside.text() == alone
            assert len(await asleep.take_available()) == 8 - 1
            assert len([token async for token in asleep if not token.flush]) == 200 - 8
        async with model.generate("2 + 3 =", max_tokens=200, ignore_eos=True) as left:
            await anext(left)
        assert (await worker.metrics()).in_flight == 0
