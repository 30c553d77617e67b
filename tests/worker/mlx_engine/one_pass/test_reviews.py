"""Labels of the trained model are right if they stand where the model would write them."""

from __future__ import annotations

import pytest

from support.model_worker import ModelWorker
from support.tiny_model import TINY, needs_tiny

from .test_classify import items

pytestmark = needs_tiny
QUESTION = "Is this review good or bad? "
THINGS = ("food", "room", "film", "book", "show")
REVIEWS = [
    (f"The {thing} was {word}.", label)
    for thing in THINGS
    for label, words in (
        ("good", ("great", "lovely", "good", "nice", "wonderful")),
        ("bad", ("terrible", "awful", "bad", "horrible", "boring")),
    )
    for word in words
]
"""Each review with its label; 25 are good and 25 bad."""


@pytest.mark.parametrize("form", ["a line break", "separator", "conversations"])
def test_reviews_are_told_apart(worker: ModelWorker, form: str) -> None:
    asked = [QUESTION + review for review, _ in REVIEWS]
    turns = [[{"role": "user", "content": prompt}] for prompt in asked]
    fields: dict[str, dict[str, object]] = {
        "a line break": {"prompts": [prompt + "\n" for prompt in asked]},
        "separator": {"prompts": asked, "separator": "\n"},
        "conversations": {"messages": turns},
    }
    found, _ = items(worker.use(TINY), labels=["good", "bad"], **fields[form])

    chances = [item["labels"] for item in found]
    told = [max(each, key=each.__getitem__) for each in chances]  # type: ignore[union-attr,call-overload]
    wrong = [
        review for (review, label), answer in zip(REVIEWS, told, strict=True) if answer != label
    ]
    assert wrong == []
