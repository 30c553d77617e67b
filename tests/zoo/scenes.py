"""The ways in which users reach a model: alone, together, joining, leaving, cached, in slices."""

from __future__ import annotations

from collections.abc import Callable

from mlxwire_protocol.messages import Classify
from mlxwire_worker.mlx_engine.sequences.prefill import ChunkSize
from mlxwire_worker.prompts import Prompt
from support.direct import Direct
from support.engine_prompts import classify_prompts_of

from .judge import Judge

PROMPTS = (
    "Hi",
    "The capital of France is",
    "Once upon a time there was a small cat who lived by the sea and",
    "A long letter: the mill by the river was old, and nobody in the town could say who had built "
    "it. Every winter the water rose to the second step, and every spring",
)
"""The zoo's tokenizer makes about 2, 12, 35 and 100 tokens of them."""

LABELS = [" cat", " the small house by the sea", "7"]
NEXT_TURN = " And then?\nI went home"
TOKENS = 6
TOP = 3


class SmallSlices(ChunkSize):
    """Slices of a few tokens, whatever their speed."""

    TOKENS = 5

    def __init__(self) -> None:
        super().__init__()
        self.tokens = self.TOKENS

    @property
    def slice_tokens(self) -> int:
        """Return the few tokens that a slice has."""
        return self.TOKENS

    def learn(self, tokens: int, seconds: float) -> None:
        """Keep the size."""


class Visit:
    """One model in the engine, its prompts as ids, and the judge of its answers."""

    def __init__(self, direct: Direct, judge: Judge, prompts: tuple[str, ...]) -> None:
        self.direct = direct
        self.judge = judge
        self.ids = [direct.prepare(text).ids for text in prompts]
        self.next_turn = direct.prepare(NEXT_TURN).ids
        self.texts = prompts
        self._waiting: list[Prompt] = []

    def add(self, prompt: Prompt) -> Prompt:
        """Start a request, or let it wait for a free slot as the worker's scheduler does."""
        self._waiting.append(prompt)
        self._admit()
        return prompt

    def until_decoding(self, prompt: Prompt, tokens: int) -> None:
        """Step until a prompt has ``tokens`` tokens."""
        while len(self.direct.answers[prompt].tokens) < tokens:
            self._step()

    def _admit(self) -> None:
        engine = self.direct.engine
        while self._waiting:
            running = [one for one in self.direct.answers.values() if one.ended is None]
            if running and not (
                len(running) < engine.slots and engine.has_room(self._waiting[0])
            ):
                return
            self.direct.add(self._waiting.pop(0))

    def _step(self) -> None:
        self.direct.step()
        self._admit()

    def prepare(self, ids: list[int], tokens: int = TOKENS, *, cache: bool = False) -> Prompt:
        """Prepare a request of ids that reports its log-probabilities."""
        return self.direct.prepare(
            ids,
            max_tokens=tokens,
            ignore_eos=True,
            logprobs=True,
            top_logprobs=TOP,
            cache=cache,
        )

    def run(self, operation: str, *prompts: Prompt) -> None:
        """Run prompts together and judge each."""
        for prompt in prompts:
            self.add(prompt)
        self.finish(operation, *prompts)

    def finish(self, operation: str, *prompts: Prompt) -> None:
        """Step to the end of all prompts, and judge them."""
        while self._waiting:
            self._step()
        self.direct.finish()
        for prompt in prompts:
            self.judge.answer(operation, prompt.ids, self.direct.answers[prompt])

    def classify(self, operation: str, texts: list[str]) -> None:
        """Run a `classify` and judge each prompt's result."""
        request = Classify(id="r", prompts=texts, labels=LABELS)
        prepared = classify_prompts_of(self.direct.engine, request)
        while prepared.left or prepared.work is not None:
            for place, result in self.direct.engine.classify(prepared):
                endings = prepared.endings[place]
                labels = dict(zip(prepared.labels, endings.labels, strict=True))
                self.judge.classified(
                    operation, prepared.ids[place], result, labels, endings.replaced
                )


def alone(visit: Visit) -> None:
    """Run each prompt by itself."""
    for ids in visit.ids:
        visit.run("alone", visit.prepare(ids))


def together(visit: Visit) -> None:
    """Run a batch of unlike lengths, and one of equal lengths."""
    visit.run("batch of unlike lengths", *map(visit.prepare, visit.ids))
    equal = [[*visit.ids[1][:-1], token] for token in visit.ids[2][:3]]
    visit.run("batch of equal lengths", *map(visit.prepare, equal))
    short, other = visit.ids[1][:1], visit.ids[2]
    visit.run("batch with one token first", *map(visit.prepare, (short, other)))
    visit.run("batch with one token last", *map(visit.prepare, (other, short)))


def join(visit: Visit) -> None:
    """Let prompts join one that decodes, one after the other."""
    first = visit.add(visit.prepare(visit.ids[2], 3 * TOKENS))
    visit.until_decoding(first, 2)
    second = visit.add(visit.prepare(visit.ids[0], 2 * TOKENS))
    visit.until_decoding(first, 5)
    third = visit.add(visit.prepare(visit.ids[3], TOKENS))
    fourth = visit.add(visit.prepare(visit.ids[1][:1], TOKENS))
    visit.finish("join", first, second, third, fourth)


def leave(visit: Visit) -> None:
    """Let the longest and the shortest leave while the others decode."""
    lengths = (2 * TOKENS, TOKENS, 2 * TOKENS, TOKENS)
    prompts = [visit.prepare(ids, n) for ids, n in zip(visit.ids, lengths, strict=False)]
    for prompt in prompts:
        visit.add(prompt)
    visit.until_decoding(prompts[0], 2)
    visit.direct.cancel(prompt for prompt in prompts[2:3] if prompt in visit.direct.answers)
    visit.finish("leave", *prompts[:2], *prompts[3:])


def second_turn(visit: Visit) -> None:
    """Continue each conversation from the prompt cache, for two more turns."""
    visit.direct.forget()
    history = list(visit.ids)
    for turn in ("first turn", "second turn", "third turn"):
        prompts = [visit.prepare(ids, cache=True) for ids in history]
        for prompt in prompts:
            visit.run(f"{turn}, cached", prompt)
        history = [
            prompt.ids + visit.direct.answers[prompt].tokens + visit.next_turn
            for prompt in prompts
        ]


def branch(visit: Visit) -> None:
    """Continue one beginning in two ways, cached, and take back some of it."""
    visit.direct.forget()
    trunk, other = visit.ids[3], visit.ids[2]
    half = len(trunk) // 2
    asked = {
        "trunk": trunk,
        "same again": trunk,
        "branch": trunk[:half] + other[:9],
        "branch of the branch": trunk[:half] + other[:5] + visit.next_turn,
        "a little shorter": trunk[:-3],
        "much shorter": trunk[:half],
        "one token more": [*trunk, other[0]],
        "longer than the trunk": trunk + other,
    }
    for name, ids in asked.items():
        visit.run(f"{name}, cached", visit.prepare(ids, cache=True))
    visit.direct.forget()
    both = [visit.prepare(trunk[:half] + end, cache=True) for end in (other[:9], trunk[:7])]
    visit.run("two branches together", *both)


def classify(visit: Visit) -> None:
    """Classify prompts without and with a shared beginning, and one alone."""
    visit.classify("classify", list(visit.texts))
    beginning = visit.texts[2]
    ends = [" he", " the boats came home", " it was late, and the small cat slept", " me"]
    visit.classify("classify with a shared beginning", [beginning + end for end in ends])
    visit.classify("classify one", [visit.texts[1]])


def slices(visit: Visit) -> None:
    """Compute prompts in slices of a few tokens, alone, together and cached."""
    visit.direct.forget()
    loaded, runner = visit.direct.loaded, visit.direct.runner
    usual = loaded.chunk
    loaded.chunk = runner._chunk = SmallSlices()
    try:
        for ids in visit.ids:
            visit.run("in slices", visit.prepare(ids))
        visit.run("together in slices", *map(visit.prepare, visit.ids))
        second_turn(visit)
        classify(visit)
    finally:
        loaded.chunk = runner._chunk = usual


SCENES: tuple[Callable[[Visit], None], ...] = (
    alone,
    together,
    join,
    leave,
    second_turn,
    branch,
    classify,
    slices,
)
