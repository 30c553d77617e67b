"""Training rows: whole conversations as (text, loss weight) pieces, in the chat template's own form.

`evaluate.py` checks that the form equals what `chat_template.jinja` renders.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from stories import any_subject, story, story_request
from talk import beyond, small_talk
from tasks import Turn, any_turn, person
from tools import QUESTIONS, UNKNOWN, Tool, offer, other_topic, tool_question, tool_turn
from wordlists import SYSTEM_PROMPTS, WORDS

Pieces = list[tuple[str, float]]
START, END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
THINK_FIRST = "Think first."
STORY_WEIGHT, THOUGHT_WEIGHT = 0.15, 0.5


def message(role: str, content: str) -> str:
    return f"{START}{role}\n{content}{END}\n"


def system_block(prompt: str, tools: list[Tool], thinking: bool) -> str:
    lines = [prompt] if prompt else []
    if tools:
        lines += ["Tools:", *(tool.line() for tool in tools)]
    if thinking:
        lines.append(THINK_FIRST)
    return message("system", "\n".join(lines)) if lines else ""


def exchange(question: str, reply: Pieces, *, role: str = "user") -> Pieces:
    """One message and the reply that it gets; only the reply carries loss."""
    prompt = message(role, question) + f"{START}assistant\n"
    *body, (last, weight) = reply
    return [(prompt, 0.0), *body, (last + END, weight), ("\n", 0.0)]


def vary(rng: random.Random, question: str) -> str:
    """Small changes that a person makes without meaning anything by them."""
    kind = rng.random()
    if kind < 0.05:
        return question[0].lower() + question[1:]
    if kind < 0.08:
        return question.rstrip(".?")
    if kind < 0.11:
        return rng.choice(("Please: ", "Hi! ", "Hello. ", "OK. ", "Now: ", "And ")) + question
    if kind < 0.13:
        return question + rng.choice(
            (
                " ",
                "\n",
                " Thanks!",
                " Please.",
                " Be brief.",
                " Answer in one word.",
                " Think carefully.",
            )
        )
    return question


@dataclass
class Conversation:
    """Draws turns that fit together: the name that was told, the tools on offer, thinking or not."""

    rng: random.Random
    thinking: bool = False
    tools: list[Tool] = field(default_factory=list)
    stories: float = 0.0
    name: str = ""

    def reply(self, turn: Turn) -> Pieces:
        if not self.thinking:
            return [(turn.answer, turn.weight)]
        return [(f"<think>{turn.thought}</think>", THOUGHT_WEIGHT), (turn.answer, turn.weight)]

    def turn(self) -> Turn:
        """A turn with no tool call in it."""
        rng, kind = self.rng, self.rng.random()
        if kind < self.stories:
            subject = any_subject(rng)
            question = story_request(rng, subject)
            if subject == "cat" and rng.random() < 0.1:
                question = rng.choice(("Tell me a story.", "Tell me a story", "Write a story."))
            return Turn(
                "story",
                question,
                story(rng, subject),
                f"a story about the {subject}",
                STORY_WEIGHT,
            )
        kind = rng.random()
        if kind < 0.04:
            return small_talk(rng, "train")
        if kind < 0.08:
            self.name = person(rng, "train")
            answer = f"Nice to meet you, {self.name}."
            return Turn(
                "recall", f"My name is {self.name}.", answer, f"the name is {self.name}"
            )
        if kind < (0.16 if self.name else 0.09):
            question = rng.choice(
                ("What is my name?", "What is my name?", "Who am I?", "Say my name.")
            )
            answer, thought = self.name or "I do not know your name.", "the name was told"
            return Turn(
                "recall", question, answer, thought if self.name else "no name was told"
            )
        if kind > 0.96:
            return Turn("unknown", self.unanswerable(), UNKNOWN, "no way to know")
        turn = any_turn(rng)
        while turn.task == "sum" and any(tool.topic == "add" for tool in self.tools):
            turn = any_turn(rng)
        return turn

    def unanswerable(self) -> str:
        """A question beyond the model, or one for a tool that isn't on offer."""
        rng, offered = self.rng, {tool.topic for tool in self.tools}
        if rng.random() < 0.5:
            return beyond(rng)
        topics = [*(topic for topic in QUESTIONS if topic != "add"), other_topic(rng, "train")]
        return tool_question(rng, "train", rng.choice([t for t in topics if t not in offered]))[
            0
        ]

    def exchanges(self) -> Pieces:
        """One user turn, with the tool round trip where a tool is called for."""
        rng = self.rng
        if self.tools and rng.random() < 0.65:
            drawn = tool_turn(rng, "train", rng.choice(self.tools))
            calling = Turn("tool", "", drawn.call, f"use {drawn.tool.name}")
            pieces = exchange(vary(rng, drawn.question), self.reply(calling))
            if rng.random() < 0.75:
                answering = Turn("tool", "", drawn.answer, "the tool answered")
                pieces += exchange(drawn.result, self.reply(answering), role="tool")
            return pieces
        turn = self.turn()
        return exchange(vary(rng, turn.question), self.reply(turn))


def system_prompt(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.45:
        return ""
    if kind < 0.88:
        return rng.choice(SYSTEM_PROMPTS)
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 8))).capitalize() + "."


def chat(rng: random.Random, *, thinking: bool, tools: int, stories: float) -> Iterator[Pieces]:
    """An endless conversation, its system block first."""
    talk = Conversation(rng, thinking, offer(rng, tools) if tools else [], stories)
    yield [(system_block(system_prompt(rng), talk.tools, thinking), 0.0)]
    while True:
        yield talk.exchanges()


def chat_without_old_thoughts(rng: random.Random, stories: float) -> Iterator[Pieces]:
    """As a client sends it back: earlier replies bare, the last one with its thought."""
    talk = Conversation(rng, stories=stories)
    yield [(system_block(system_prompt(rng), [], True), 0.0)]
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4))):
        yield [(text, 0.0) for text, _ in talk.exchanges()]
    talk.thinking = True
    yield talk.exchanges()


def raw_texts(rng: random.Random, stories: float) -> Iterator[Pieces]:
    """Plain text: a question, a line feed, its answer, the end of the text."""
    while True:
        subject = any_subject(rng)
        if rng.random() < 8 * stories:
            question = "Tell me a story about " + story_request(rng, subject).split("about ")[1]
            yield [(question, 0.0), ("\n" + story(rng, subject) + END_OF_TEXT, STORY_WEIGHT)]
        else:
            turn = any_turn(rng)
            yield [(turn.question, 0.0), (f"\n{turn.answer}{END_OF_TEXT}", 1.0)]


def conversation(rng: random.Random, *, room: int) -> Iterator[Pieces]:
    """Turn groups for a row of `room` tokens; the shares of each kind depend on what fits."""
    short, stories = room < 256, 0.0 if room < 256 else (0.12 if room < 800 else 0.06)
    kind = rng.random()
    if kind < (0.06 if short else 0.09):
        return raw_texts(rng, stories)
    if kind < 0.28:
        if rng.random() < 0.4:
            return chat_without_old_thoughts(rng, stories)
        return chat(rng, thinking=True, tools=0, stories=stories)
    if kind < 0.5 and not short:
        return chat(
            rng, thinking=rng.random() < 0.3, tools=rng.randint(1, 3), stories=stories / 2
        )
    return chat(rng, thinking=False, tools=0, stories=stories)
