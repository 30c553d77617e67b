"""Asks the model, in batches, through its own template and mlx-lm's own greedy generation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_lm import batch_generate, load

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Reply:
    prompt: list[int]
    tokens: list[int]  # without the token that ended it
    text: str
    ended: bool


class Asker:
    def __init__(self, folder: Path, *, batch: int) -> None:
        self.model, self.tokenizer = load(str(folder))[:2]
        self.batch = batch

    def prompt(
        self, messages: Messages, *, thinking: bool = False, tools: Any = None
    ) -> list[int]:
        rendered: list[int] = self.tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=True, enable_thinking=thinking
        )
        return rendered

    def complete(self, prompts: list[list[int]], limit: int) -> list[Reply]:
        """Greedy replies; the prompts are sorted by length so that a batch pads little."""
        order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
        answered = batch_generate(
            self.model,
            self.tokenizer,
            [prompts[at] for at in order],
            max_tokens=limit,
            return_token_ids=True,
            completion_batch_size=self.batch,
            prefill_batch_size=self.batch,
        )
        replies: dict[int, Reply] = {}
        for at, tokens in zip(order, answered.token_ids, strict=True):
            text = self.tokenizer.decode(tokens)
            replies[at] = Reply(prompts[at], tokens, text, len(tokens) < limit)
        return [replies[at] for at in range(len(prompts))]

    def ask(
        self, questions: list[str], limit: int = 64, *, thinking: bool = False
    ) -> list[Reply]:
        """Replies to single user messages."""
        prompts = [
            self.prompt([{"role": "user", "content": q}], thinking=thinking) for q in questions
        ]
        return self.complete(prompts, limit)
