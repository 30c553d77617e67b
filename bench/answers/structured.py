"""The cost of a form: a step of 16 rows with forms over one without, masks at 128k tokens, compiles.

    python -m bench.answers.structured [--model testdata/tiny] [--rows 16] [--rounds 7]

Steps are those of the worker's engine in this process, and beside them those of mlx-lm with
llguidance as a logits processor for each row, its way to the same masks. Rounds alternate; the
table shows the least of the rounds and the ratio of each over the same engine without forms.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers

from bench.common.decode_steps import median_step
from mlxwire_protocol.formats import ResponseFormat
from mlxwire_worker.engine import LoadOptions
from mlxwire_worker.mlx_engine.importing import import_or_explain
from mlxwire_worker.prompts import Prompt, SamplingParams

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMA = {"type": "array", "items": PERSON, "minItems": 500}
FORM = msgspec.convert(
    {"type": "json_schema", "json_schema": {"schema": SCHEMA}}, ResponseFormat
)
STEPS = 60
LARGE_VOCABULARY = 128_256


class Ours:
    """The worker's engine."""

    def __init__(self, path: str) -> None:
        from mlxwire_worker.mlx_engine.engine import MlxEngine

        self.engine = MlxEngine()
        self.engine.preload()
        self.engine.load(LoadOptions(path=path), lambda *_: None)

    def steps(self, rows: int, formed: int) -> float:
        """Return the median seconds of a step of ``rows``, of which ``formed`` have a form."""
        prompts = [self._prompt(place < formed) for place in range(rows)]
        return median_step(self.engine, prompts, STEPS)

    def _prompt(self, formed: bool) -> Prompt:
        params = SamplingParams(
            max_tokens=4 * STEPS,
            ignore_eos=True,
            cache=False,
            response_format=FORM if formed else None,
        )
        return self.engine.text_prompt("What is 2 and 3?", params, field="prompt")


class Peer:
    """mlx-lm's `BatchGenerator`, with a logits processor for each row that has a form."""

    def __init__(self, path: str) -> None:
        from llguidance import LLTokenizer
        from mlx_lm.utils import load_model

        from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer

        self._model, _ = load_model(Path(path))
        self._size = self._model(np_to_mx([[0]])).shape[-1]
        tokenizer = Tokenizer.from_folder(Path(path))
        self._ids = tokenizer.encode("What is 2 and 3?")
        self._tokens = LLTokenizer(
            tokenizer.as_json(), n_vocab=self._size, eos_token=self._size - 1
        )

    def steps(self, rows: int, formed: int) -> float:
        """Return the median seconds of a step of ``rows``, of which ``formed`` have a form."""
        from mlx_lm.generate import BatchGenerator

        generator = BatchGenerator(
            self._model, max_tokens=4 * STEPS, completion_batch_size=rows
        )
        processors = [[self._processor()] if place < formed else [] for place in range(rows)]
        generator.insert([self._ids] * rows, logits_processors=processors)
        seconds = []
        for step in range(STEPS + 6):
            started = time.perf_counter()
            generator.next()
            if step >= 6:
                seconds.append(time.perf_counter() - started)
        generator.close()
        return statistics.median(seconds)

    def _processor(self) -> Callable[[Any, Any], Any]:
        import mlx.core as mx
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(
            json.dumps(SCHEMA), overrides={"whitespace_flexible": False}
        )
        matcher = LLMatcher(self._tokens, grammar)
        words = np.zeros((1, -(-self._size // 32)), dtype=np.int32)
        begun = False

        def process(tokens: Any, logits: Any) -> Any:
            nonlocal begun
            if begun:
                matcher.consume_token(int(tokens[-1]))
            begun = True
            matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
            bits = np.unpackbits(words.view(np.uint8), bitorder="little", count=self._size)
            return mx.where(mx.array(bits.view(np.bool_)), logits, -mx.inf)

        return process


def np_to_mx(value: Any) -> Any:
    """Return an array of MLX, whose import must wait for `import_or_explain`."""
    import mlx.core as mx

    return mx.array(value)


def large_tokenizer() -> Any:
    """Return a byte-level tokenizer of 128,256 tokens: the bytes, and words of two to nine letters."""
    from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer

    chance = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgk"
    words = dict.fromkeys(sorted(pre_tokenizers.ByteLevel.alphabet()))
    while len(words) < LARGE_VOCABULARY - 1:
        word = "".join(chance.choices(letters, k=chance.randint(2, 9)))
        words[chance.choice(("", "Ġ")) + word] = None
    vocabulary = {word: place for place, word in enumerate(words)}
    fast = FastTokenizer(models.BPE(vocabulary, []))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(["<|end|>"])
    return Tokenizer(fast, {"eos_token": "<|end|>"})


def masks(rows: int, rounds: int) -> tuple[float, float]:
    """Return the median and the largest seconds of the masks of a step at 128k tokens."""
    from mlxwire_worker.mlx_engine.constraints.making import Constraints
    from mlxwire_worker.mlx_engine.constraints.masks import mask_of

    tokenizer = large_tokenizer()
    making = Constraints(tokenizer, LARGE_VOCABULARY, frozenset({LARGE_VOCABULARY - 1}))
    chance = random.Random(1)
    batch: list[Any] = []
    for _ in range(rows):
        constraint = making.make(FORM, frozenset({LARGE_VOCABULARY - 1}))
        batch.append(
            SimpleNamespace(prompt=SimpleNamespace(constraint=constraint), generated=[])
        )
    seconds = []
    for _ in range(20 * rounds):
        started = time.perf_counter()
        mask = mask_of(batch, None, LARGE_VOCABULARY)
        seconds.append(time.perf_counter() - started)
        allowed = np.array(mask)
        for place, row in enumerate(batch):
            row.generated.append(chance.choice(np.flatnonzero(allowed[place]).tolist()))
    return statistics.median(seconds), max(seconds)


def compiles() -> list[tuple[str, float]]:
    """Return what is compiled for a vocabulary of 128k tokens, and the seconds."""
    from mlxwire_worker.mlx_engine.constraints.making import Constraints

    tokenizer = large_tokenizer()
    making = Constraints(tokenizer, LARGE_VOCABULARY, frozenset({LARGE_VOCABULARY - 1}))
    wide = {"type": "object", "properties": {f"p{n}": PERSON for n in range(100)}}
    forms = {
        "vocabulary, and the first form": {"type": "json_object"},
        "json_object": {"type": "json_object", "whitespace": "flexible"},
        "list of objects": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
        "100 properties": {"type": "json_schema", "json_schema": {"schema": wide}},
        "expression": {"type": "regex", "regex": "[A-Z][a-z]{2,20} [0-9]{4}"},
    }
    times = []
    for name, form in forms.items():
        started = time.perf_counter()
        making.make(msgspec.convert(form, ResponseFormat), frozenset())
        times.append((name, time.perf_counter() - started))
    return times


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="testdata/tiny")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    import_or_explain()
    engines = {"worker": Ours(given.model), "mlx-lm with processors": Peer(given.model)}
    counts = (0, 1, given.rows // 2, given.rows)
    least: dict[tuple[str, int], float] = {}
    for _ in range(given.rounds):
        for name, engine in engines.items():
            for formed in counts:
                seconds = engine.steps(given.rows, formed)
                least[name, formed] = min(seconds, least.get((name, formed), seconds))
    print(f"a step of {given.rows} rows, least of {given.rounds} rounds, in ms (over none)")
    for name in engines:
        told = "  ".join(
            f"{formed:>3} forms {1e3 * least[name, formed]:7.3f} "
            f"({least[name, formed] / least[name, 0]:.3f})"
            for formed in counts
        )
        print(f"  {name:<24}{told}")
    median, largest = masks(given.rows, given.rounds)
    print(f"masks of {given.rows} rows at {LARGE_VOCABULARY} tokens, in ms")
    print(f"  median {1e3 * median:.3f}   largest {1e3 * largest:.3f}")
    print("compile, in ms")
    for name, seconds in compiles():
        print(f"  {name:<34}{1e3 * seconds:8.1f}")


if __name__ == "__main__":
    main()
