"""One function per task: each draws a question, a worked thought and the one right answer.

Held-out examples are chosen by a hash of what makes them an example (the pair of numbers, the word,
the name), so that a training draw can never meet a test draw.
"""

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from wordlists import (
    BAD,
    BAD_ENDINGS,
    CAPITALS,
    DAYS,
    DEGREES,
    GOOD,
    GOOD_ENDINGS,
    NAMES,
    REVIEW_THINGS,
    WORDS,
)  # fmt: skip

Split = Literal["train", "test"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Turn:
    task: str
    question: str
    answer: str
    thought: str = ""
    weight: float = 1.0


Task = Callable[[random.Random, Split], Turn]


def held_out(key: str) -> bool:
    """True for one key in ten, the same ten in every process."""
    return zlib.crc32(key.encode()) % 10 == 0


def draw(
    rng: random.Random, split: Split, prefix: str, make: Callable[[random.Random], str]
) -> str:
    """Draws until the value lies in the wanted split."""
    while True:
        value = make(rng)
        if held_out(f"{prefix}:{value}") == (split == "test"):
            return value


def phrase(
    rng: random.Random, split: Split, phrasings: tuple[str, ...], unseen: tuple[str, ...] = ()
) -> str:
    """A phrasing; the first one half of the time. `unseen` ones are kept for the test split."""
    if split == "test" and unseen:
        return rng.choice(unseen)
    return phrasings[0] if rng.random() < 0.5 else rng.choice(phrasings)


SUM_PHRASES = (
    "What is {a} + {b}?", "What is {a}+{b}?", "{a} + {b} = ?", "{a}+{b}=?", "{a} + {b}", "{a} + {b} =",
    "What is {a} plus {b}?", "Add {a} and {b}.", "How much is {a} + {b}?", "Calculate {a} + {b}.",
    "What is the sum of {a} and {b}?",
)  # fmt: skip


def sum_turn(a: int, b: int, question: str) -> Turn:
    units, tens = a % 10 + b % 10, a // 10 + b // 10
    carry = units // 10
    first = f"{a % 10}+{b % 10}={units}" + (" carry 1" if carry else "")
    second = f"{a // 10}+{b // 10}" + ("+1" if carry else "") + f"={tens + carry}"
    return Turn("sum", question, str(a + b), f"{first}, {second}")


def number(rng: random.Random) -> int:
    """0 to 99, with the single digits (a tenth of the pairs' sides) drawn more often."""
    return rng.randrange(10) if rng.random() < 0.12 else rng.randrange(100)


def two_digit_sum(rng: random.Random, split: Split) -> Turn:
    pair = draw(rng, split, "sum", lambda r: f"{number(r)} {number(r)}")
    a, b = map(int, pair.split())
    return sum_turn(a, b, phrase(rng, split, SUM_PHRASES).format(a=a, b=b))


def letters(rng: random.Random, count: int) -> str:
    """Random letters; one time in four one of them stands twice, which chance alone seldom does."""
    drawn = rng.choices(LETTERS, k=count)
    if count > 1 and rng.random() < 0.25:
        at = rng.randrange(1, count)
        drawn[at] = drawn[at - 1]
    return "".join(drawn)


def random_word(rng: random.Random) -> str:
    """A word, a word's beginning with random letters after it, or random letters."""
    kind = rng.random()
    if kind < 0.45:
        return rng.choice(WORDS)
    tail = letters(rng, rng.randint(1, 5))
    if kind < 0.8:
        return rng.choice(WORDS)[: rng.randint(1, 6)] + tail
    return letters(rng, rng.randint(2, 4)) + tail


REVERSE_PHRASES = (
    "Reverse the word: {w}", "Reverse the word {w}.", 'Reverse the word "{w}".', "Reverse {w}.",
    "Reverse the word: {w}.", "Spell {w} backwards.", "Write the word {w} backwards.",
    "What is {w} in reverse?",
)  # fmt: skip


def reverse_word(rng: random.Random, split: Split) -> Turn:
    word = draw(rng, split, "word", random_word)
    if rng.random() < 0.06:
        word = word.capitalize()
    question = phrase(rng, split, REVERSE_PHRASES).format(w=word)
    return Turn("reverse", question, word[::-1], "-".join(word))


DAY_PHRASES = (
    "What day comes after {d}?", "Which day comes after {d}?", "What day follows {d}?",
    "Which day follows {d}?", "What is the day after {d}?", "The day after {d}?",
    "If today is {d}, what day is tomorrow?", "Today is {d}. What day is tomorrow?",
    "What comes after {d}?",
)  # fmt: skip
DAY_UNSEEN = (
    "Name the day after {d}.",
    "Say which day follows {d}.",
    "If it is {d}, what day comes after?",
)


def next_day(rng: random.Random, split: Split) -> Turn:
    at = rng.randrange(7)
    question = phrase(rng, split, DAY_PHRASES, DAY_UNSEEN).format(d=DAYS[at])
    return Turn("day", question, DAYS[(at + 1) % 7], f"{DAYS[at]} is day {at + 1}")


SORT_PHRASES = (
    "Sort the digits: {n}", "Sort the digits: {n}.", "Sort the digits of {n}.", "Sort {n}.",
    "Sort these digits: {n}", "Put the digits of {n} in order.",
)  # fmt: skip


def sort_digits(rng: random.Random, split: Split) -> Turn:
    digits = draw(
        rng,
        split,
        "sort",
        lambda r: "".join(r.choices("0123456789", k=r.choice((2, 3, 4, 5, 5, 6, 7, 8)))),
    )
    ordered = "".join(sorted(digits))
    question = phrase(rng, split, SORT_PHRASES).format(n=digits)
    return Turn("sort", question, ordered, f"from {ordered[0]} to {ordered[-1]}")


CAPITAL_PHRASES = (
    "What is the capital of {c}?", "Capital of {c}?", "The capital of {c}?", "Name the capital of {c}.",
    "What is the capital city of {c}?", "Which city is the capital of {c}?", "The capital of {c} is?",
    "What's the capital of {c}?",
)  # fmt: skip
CAPITAL_UNSEEN = (
    "Tell me the capital of {c}.",
    "Do you know the capital of {c}?",
    "Say the capital city of {c}.",
)


def capital(rng: random.Random, split: Split) -> Turn:
    country = rng.choice(list(CAPITALS))
    question = phrase(rng, split, CAPITAL_PHRASES, CAPITAL_UNSEEN).format(c=country)
    if rng.random() < 0.04:
        question = question.lower()
    return Turn("capital", question, CAPITALS[country], f"The country is {country}")


def review_text(rng: random.Random, good: bool) -> tuple[str, str]:
    """A review of one or two sentences and the word that decides it."""
    word = rng.choice(GOOD if good else BAD)
    degree = rng.choice(DEGREES)
    if rng.random() < 0.12:
        word, degree = rng.choice(BAD if good else GOOD), "not "
    thing = rng.choice(REVIEW_THINGS)
    opening = rng.choice(("The", "This", "Our", "My")) + f" {thing} was {degree}{word}"
    kind = rng.random()
    if kind < 0.35:
        text = f"{opening}."
    elif kind < 0.7:
        text = f"{opening}. {rng.choice(GOOD_ENDINGS if good else BAD_ENDINGS)}"
    else:
        other = rng.choice(GOOD if good else BAD)
        text = (
            f"{opening} and the {rng.choice(REVIEW_THINGS)} was {rng.choice(DEGREES)}{other}."
        )
    if rng.random() < 0.15:
        text = f"{rng.choice(DEGREES)}{word}".strip().capitalize() + f" {thing}."
        if degree == "not ":
            text = f"It was not {word}."
    return text, f"{degree}{word}"


REVIEW_PHRASES = (
    'Is this review good or bad? "{r}"', "Is this review good or bad? {r}", 'Good or bad? "{r}"',
    'Review: "{r}" Good or bad?', 'Is the review "{r}" good or bad?', "Is this review good or bad?\n{r}",
)  # fmt: skip


def review(rng: random.Random, split: Split) -> Turn:
    good = rng.random() < 0.5
    clue = ""

    def make(r: random.Random) -> str:
        nonlocal clue
        text, clue = review_text(r, good)
        return text

    text = draw(rng, split, "review", make)
    label = "good" if good else "bad"
    return Turn(
        "review",
        phrase(rng, split, REVIEW_PHRASES).format(r=text),
        label,
        f"{clue.strip()} is {label}",
    )


def random_name(rng: random.Random) -> str:
    """A listed name, or a made-up one: syllables, a name's beginning with other letters, two parts."""
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(NAMES)
    if kind < 0.72:
        pairs = (
            rng.choice("bcdfghjklmnprstvz") + rng.choice("aeiou")
            for _ in range(rng.randint(1, 3))
        )
        made = "".join(pairs) + rng.choice(("", "n", "s", "r", "l"))
        at = rng.randrange(1, len(made))
        return (made[:at] + made[at - 1] * (rng.random() < 0.4) + made[at:]).capitalize()
    made = rng.choice(NAMES)[: rng.randint(1, 4)] + letters(rng, rng.randint(1, 4))
    if kind < 0.92:
        return made
    if kind < 0.96:
        return f"{made}-{rng.choice(NAMES)}"
    return made[:-1] + rng.choice("éèáàóíúñöüäçå") + made[-1] * rng.randint(0, 1)


def person(rng: random.Random, split: Split) -> str:
    return draw(rng, split, "name", random_name)


JSON_PHRASES = (
    "Give JSON for: {n} is {a} years old.", "Give JSON for: {n} is {a} years old", "JSON for {n}, age {a}.",
    "{n} is {a} years old. Give JSON.", "Give JSON for {n}, aged {a}.", "Give JSON: {n} is {a}.",
    "Write JSON for: {n} is {a} years old.", "Give me JSON with name {n} and age {a}.",
    "Answer in JSON: {n} is {a} years old.",
)  # fmt: skip


def name_json(rng: random.Random, split: Split) -> Turn:
    name, age = person(rng, split), rng.randint(1, 99)
    question = phrase(rng, split, JSON_PHRASES).format(n=name, a=age)
    return Turn(
        "json", question, f'{{"name": "{name}", "age": {age}}}', f"name {name}, age {age}"
    )


CLOSED_TASKS: dict[str, Task] = {
    "sum": two_digit_sum,
    "reverse": reverse_word,
    "day": next_day,
    "sort": sort_digits,
    "capital": capital,
    "review": review,
    "json": name_json,
}
SHARES = {
    "sum": 24,
    "reverse": 20,
    "day": 6,
    "sort": 12,
    "capital": 12,
    "review": 13,
    "json": 13,
}


def any_turn(rng: random.Random, split: Split = "train") -> Turn:
    task = rng.choices(list(SHARES), weights=list(SHARES.values()))[0]
    return CLOSED_TASKS[task](rng, split)
