"""The real engine driven by hand, without processes: prepare, add, step, and read the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlxwire_protocol.chat.turns import Message
from mlxwire_protocol.messages import Chat, Generate
from mlxwire_worker.engine import LoadOptions
from mlxwire_worker.mlx_engine import MlxEngine
from mlxwire_worker.mlx_engine.loading import LoadedModel
from mlxwire_worker.mlx_engine.sequences.rows import Row
from mlxwire_worker.mlx_engine.sequences.runner import Runner
from mlxwire_worker.prompts import Failed, Prompt, Sampled, StepResult

from .engine_prompts import prompt_of


@dataclass
class Answer:
    """The answer to one prompt. ``ended`` is None while the prompt runs."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float | None] = field(default_factory=list)
    tops: list[list[tuple[int, float]] | None] = field(default_factory=list)
    error: Exception | None = None
    ended: str | None = None


class Direct:
    """An engine with one model, and the answers of all that was given to it."""

    def __init__(self, path: Path, **load: Any) -> None:
        self.engine = MlxEngine()
        self.path = path
        options: dict[str, Any] = {"warmup": False, **load}
        try:
            self.info = self.engine.load(
                LoadOptions(path=str(path), **options), lambda *_: None
            )
        except BaseException:
            self.engine.close()
            raise
        self.answers: dict[Prompt, Answer] = {}
        self.steps = 0

    @property
    def loaded(self) -> LoadedModel:
        loaded = self.engine._loaded
        assert loaded is not None
        return loaded

    @property
    def runner(self) -> Runner:
        return self.loaded.runner

    def forget(self) -> None:
        """Empty the prompt cache."""
        self.loaded.cache.clear()

    def prepare(self, prompt: str | list[int], **options: Any) -> Prompt:
        """Prepare a request; a list is taken as token ids."""
        text = prompt if isinstance(prompt, str) else "x"
        made = prompt_of(self.engine, Generate(id="r", prompt=text, **options))
        if not isinstance(prompt, str):
            made.ids = list(prompt)
        return made

    def prepare_chat(self, messages: list[dict[str, str]], **options: Any) -> Prompt:
        turns = [Message(**message) for message in messages]
        return prompt_of(self.engine, Chat(id="r", messages=turns, **options))

    def row(self, prompt: Prompt) -> Row:
        return self.runner._rows[prompt]

    def add(self, prompt: Prompt) -> Prompt:
        self.answers[prompt] = Answer()
        self.engine.add(prompt)
        return prompt

    def cancel(self, prompts: Iterable[Prompt]) -> None:
        gone = [prompt for prompt in prompts if self.answers[prompt].ended is None]
        for prompt in gone:
            self.answers[prompt].ended = "cancelled"
        self.engine.remove(gone)

    def step(self) -> list[StepResult]:
        """Take one step and remove the prompts that ended in it, as the worker's loop does."""
        results = self.engine.step()
        self.steps += 1
        ended = []
        for result in results:
            answer = self.answers[result.prompt]
            if isinstance(result, Failed):
                assert answer.ended is None
                answer.error, answer.ended = result.error, "failed"
            elif isinstance(result, Sampled) and answer.ended is None:
                answer.ended = _take(answer, result)
                if answer.ended:
                    ended.append(result.prompt)
        self.engine.remove(ended)
        return results

    def until(self, done: Callable[[], bool], limit: int = 20_000) -> None:
        for _ in range(limit):
            if done():
                return
            self.step()
        raise AssertionError("it never came")

    def finish(self) -> None:
        """Step until every prompt has ended."""
        self.until(lambda: all(answer.ended for answer in self.answers.values()))
        assert len(self.runner) == 0
        assert not self.runner._waiting
        assert not self.runner._batch.rows

    def decoding(self, prompt: Prompt, tokens: int = 1) -> None:
        """Step until a prompt has ``tokens`` tokens."""
        self.until(lambda: len(self.answers[prompt].tokens) >= tokens)

    def run(self, prompts: Iterable[Prompt]) -> list[Answer]:
        """Run all prompts together, to the end of each."""
        added = [self.add(prompt) for prompt in prompts]
        self.finish()
        return [self.answers[prompt] for prompt in added]

    def answer(self, prompt: str | list[int], **options: Any) -> Answer:
        """Run one prompt alone."""
        return self.run([self.prepare(prompt, **options)])[0]

    def tokens(self, prompt: str | list[int], **options: Any) -> list[int]:
        answer = self.answer(prompt, **options)
        assert answer.error is None, answer.error
        return answer.tokens

    def close(self) -> None:
        self.engine.close()
        self.engine.unload()


def _take(answer: Answer, sampled: Sampled) -> str | None:
    """Count a token; the reason, if it was the last."""
    prompt = sampled.prompt
    if sampled.token_id in prompt.stop_ids:
        return "stop"
    if prompt.max_tokens == 0:
        return "length"
    answer.tokens.append(sampled.token_id)
    answer.logprobs.append(sampled.logprob)
    answer.tops.append(sampled.top)
    return "length" if len(answer.tokens) >= prompt.max_tokens else None
