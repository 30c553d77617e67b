"""Offered tools: random names and parameters, questions that need one, and the call that answers."""

# ruff: noqa: SIM905 (word lists read best as words)

import json
import random
from dataclasses import dataclass

from tasks import Split, draw, held_out, person
from wordlists import CITIES, WORDS

UNKNOWN = "I do not know."


@dataclass(frozen=True)
class Tool:
    topic: str
    name: str
    parameters: tuple[str, ...]

    def spec(self) -> dict[str, object]:
        """The tool as a chat request offers it."""
        kind = "integer" if self.topic == "add" else "string"
        properties = {name: {"type": kind} for name in self.parameters}
        schema = {"type": "object", "properties": properties, "required": list(self.parameters)}
        function = {
            "name": self.name,
            "description": f"Tool for {self.topic}.",
            "parameters": schema,
        }
        return {"type": "function", "function": function}

    def line(self) -> str:
        """The tool as the chat template shows it to the model."""
        return json.dumps({"name": self.name, "arguments": list(self.parameters)})


@dataclass(frozen=True)
class ToolTurn:
    question: str
    tool: Tool
    arguments: dict[str, str | int]
    result: str

    @property
    def call(self) -> str:
        call = json.dumps({"name": self.tool.name, "arguments": self.arguments})
        return f"<tool_call>\n{call}\n</tool_call>"

    @property
    def answer(self) -> str:
        return f"The answer is {self.result.rstrip('.')}."


VERBS = "get find show check fetch read look_up query".split()
PLACE_PARAMETERS = ("city", "city", "city", "location", "place", "town")
QUESTIONS = {
    "weather": (
        "What is the weather in {x}?", "How is the weather in {x}?", "Weather in {x}?",
        "What's the weather in {x}?", "Tell me the weather in {x}.", "What is the weather like in {x}?",
        "What is the weather in {x} today?", "Is it raining in {x}?", "Is it sunny in {x}?",
        "How warm is it in {x}?", "How cold is it in {x}?", "What is the temperature in {x}?",
    ),
    "time": ("What time is it in {x}?", "What is the time in {x}?", "Tell me the time in {x}."),
    "news": ("What is the news in {x}?", "Show me the news from {x}.", "Any news from {x}?"),
    "map": ("Show me a map of {x}.", "Find a map of {x}.", "I need a map of {x}."),
    "price": ("What is the price of a {x}?", "Find the price of a {x}.", "What does a {x} cost?"),
    "phone": ("What is the phone number of {x}?", "Find the phone of {x}.", "Call {x}."),
    "add": ("What is {a} + {b}?", "What is {a} + {b}?", "Add {a} and {b}.", "{a} + {b} = ?"),
}  # fmt: skip
PARAMETERS = {
    "weather": PLACE_PARAMETERS, "time": PLACE_PARAMETERS, "news": PLACE_PARAMETERS, "map": PLACE_PARAMETERS,
    "price": ("item", "product", "name"), "phone": ("name", "person"),
}  # fmt: skip


# Any other noun can be a tool's topic too: the model must find it in the tool's name.
OTHER_QUESTIONS = (
    "What is the {t} of {x}?", "What is the {t} in {x}?", "Find the {t} of {x}.", "Show me the {t} of {x}.",
    "Tell me the {t} of {x}.",
)  # fmt: skip
OTHER_PARAMETERS = (
    "city",
    "country",
    "name",
    "place",
    "item",
    "id",
    "query",
    "key",
    "user",
    "title",
    "text",
)
OTHER_TOPICS = (
    *WORDS,
    *"population currency distance height size status owner address email stock rate".split(),
)


def other_topic(rng: random.Random, split: Split) -> str:
    while True:
        topic = draw(rng, split, "topic", lambda r: r.choice(OTHER_TOPICS))
        if topic not in QUESTIONS and topic != "name":
            return topic


def make_tool(rng: random.Random, topic: str) -> Tool:
    if topic == "add":
        return Tool(topic, rng.choice(("add", "sum", "add_numbers")), ("a", "b"))
    name = (
        "get_weather"
        if topic == "weather" and rng.random() < 0.5
        else f"{rng.choice(VERBS)}_{topic}"
    )
    if rng.random() < 0.15:
        name = rng.choice((topic, f"{topic}_{rng.choice(('tool', 'lookup', 'api'))}"))
    return Tool(topic, name, (rng.choice(PARAMETERS.get(topic, OTHER_PARAMETERS)),))


def offer(rng: random.Random, count: int, split: Split = "train") -> list[Tool]:
    weights = [3 if topic == "weather" else 1 for topic in QUESTIONS]
    topics: list[str] = []
    while len(topics) < count:
        topic = rng.choices(list(QUESTIONS), weights=weights)[0]
        if rng.random() < 0.35:
            topic = other_topic(rng, split)
        if topic not in topics:
            topics.append(topic)
    return [make_tool(rng, topic) for topic in topics]


def subject(rng: random.Random, split: Split, topic: str) -> str:
    """What the question is about. One city, name and thing in ten is kept for the test split."""
    while True:
        if topic == "price":
            value = rng.choice(WORDS)
        elif topic == "phone" or rng.random() < 0.45:
            value = person(rng, split)
        else:
            value = rng.choice(CITIES)
        if topic == "phone" or held_out(f"tool:{value}") == (split == "test"):
            return value


def tool_result(rng: random.Random, topic: str) -> str:
    kind = rng.random()
    if topic == "time":
        return f"{rng.randrange(24)}:{rng.randrange(60):02d}"
    if kind < 0.35:
        sky = rng.choice("sunny cloudy rainy windy snowy foggy clear".split())
        return rng.choice(
            (
                f"{sky}, {rng.randrange(40)} degrees",
                f"{rng.randrange(40)} degrees and {sky}",
                sky,
            )
        )
    if kind < 0.7:
        keys = rng.sample(
            "temperature sky temp city value status price wind unit result".split(),
            rng.randint(1, 2),
        )
        values = (rng.choice((rng.randrange(100), rng.choice(WORDS))) for _ in keys)
        return json.dumps(dict(zip(keys, values, strict=True)))
    if kind < 0.85:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 4)))
    return str(rng.randrange(10 ** rng.randint(1, 6)))


def tool_question(
    rng: random.Random, split: Split, topic: str
) -> tuple[str, dict[str, int], str]:
    """The question, the numbers in it (for sums) and the thing it is about."""
    question = rng.choice(QUESTIONS.get(topic, OTHER_QUESTIONS))
    if topic == "add":
        a, b = rng.randrange(100), rng.randrange(100)
        return question.format(a=a, b=b), {"a": a, "b": b}, ""
    value = subject(rng, split, topic)
    return question.format(x=value, t=topic), {}, value


def tool_turn(rng: random.Random, split: Split, tool: Tool) -> ToolTurn:
    question, numbers, value = tool_question(rng, split, tool.topic)
    if tool.topic == "add":
        return ToolTurn(question, tool, dict(numbers), str(sum(numbers.values())))
    return ToolTurn(question, tool, {tool.parameters[0]: value}, tool_result(rng, tool.topic))
