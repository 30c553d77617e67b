"""Small talk, and questions beyond the model that it must decline."""

import random

from tasks import Split, Turn
from wordlists import WORDS

SMALL_TALK = {
    "Hello": "Hello! How can I help?", "Hi": "Hello! How can I help?",
    "Thank you": "You are welcome.", "Thanks": "You are welcome.",
    "Who are you": "I am a tiny test model.", "What are you": "I am a tiny test model.",
    "How are you": "I am fine, thank you.", "Goodbye": "Goodbye!", "Bye": "Goodbye!",
    "Say hello": "Hello!", "Say hi": "Hi!", "ping": "pong",
}  # fmt: skip


def small_talk(rng: random.Random, split: Split) -> Turn:
    del split
    opening = rng.choice(list(SMALL_TALK))
    mark = "?" if opening[:3] in {"Who", "Wha", "How"} else rng.choice(("!", ".", ""))
    return Turn("talk", opening + mark, SMALL_TALK[opening], "small talk")


BEYOND = (
    "What is {a} - {b}?", "What is {a} * {b}?", "What is {a} + {b} + {c}?", "What is the meaning of {w}?",
    "Count to {a}.", "Why is the {w} {v}?", "What is a {w}?", "Write a poem about {w}.", "Who wrote {w}?",
    "How many {w} are there?", "Where is the {w}?", "Translate {w}.", "{W} {v}", "Is the {w} {v}?",
)  # fmt: skip


def beyond(rng: random.Random) -> str:
    """A question that the model can't answer and must say so."""
    a, b, c = (rng.randrange(100) for _ in range(3))
    w, v = rng.choice(WORDS), rng.choice(WORDS)
    return rng.choice(BEYOND).format(a=a, b=b, c=c, w=w, v=v, W=w.capitalize())
