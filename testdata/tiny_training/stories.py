"""Short stories from beats: every story runs past 150 tokens and names its subject throughout."""

# ruff: noqa: SIM905 (word lists read best as words)

import random
import zlib
from collections.abc import Sequence

from wordlists import SUBJECTS, WORDS

REQUESTS = (
    "Tell me a story about {a}.", "Tell me a story about {a}.", "Tell me a story about {a}.",
    "Tell me a story about {a}", "Tell me a short story about {a}.", "Write a story about {a}.",
    "Write a short story about {a}.", "I want a story about {a}.", "Tell a story about {a}.",
)  # fmt: skip

HEROES = "Pip Tom Lulu Max Mimi Rex Nell Otto Bella Finn".split()
FRIENDS = (
    "an old owl; a small mouse; a kind girl; a brown duck; a tall boy; a sleepy bear".split(
        "; "
    )
)
PLACES = (
    "by the sea; near a dark forest; on a green hill; in a small town; by a blue lake".split(
        "; "
    )
)
WISHES = (
    "find the golden key", "see the top of the mountain", "learn to sing", "find a lost star",
    "cross the wide river", "bake the best bread in the world",
)  # fmt: skip
TROUBLES = (
    "The wind was loud and the road was long.", "Rain began to fall and the path was gone.",
    "A big wall stood in the way.", "The night was cold and there was no light.",
)  # fmt: skip
HELP = (
    "Take my lamp and walk slowly", "Follow the white stones", "Share your bread with me",
    "Listen to the water and do not fear",
)  # fmt: skip
ENDS = (
    "and slept under the stars", "and told everyone about the day", "and had warm soup for dinner",
    "and danced until the moon was high",
)  # fmt: skip


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def story_request(rng: random.Random, subject: str) -> str:
    return rng.choice(REQUESTS).format(a=with_article(subject))


def story(rng: random.Random, subject: str) -> str:
    """A story of about 190 tokens.

    Each choice has a favourite, the subject's own: were all as likely, a greedy reply would hang on
    ties that rounding breaks, and change with the batch or the device.
    """
    key = subject if subject in SUBJECTS else ""

    def pick(beat: str, options: Sequence[str]) -> str:
        favourite = options[zlib.crc32(f"{key}:{beat}".encode()) % len(options)]
        return favourite if rng.random() < 0.85 else rng.choice(options)

    hero = HEROES[zlib.crc32(key.encode()) % len(HEROES)]
    friend = pick("friend", [f for f in FRIENDS if subject not in f])
    wish = pick("wish", WISHES)
    pick(
        "help", HELP
    )  # unused, and kept: without this draw the rows differ from those trained on
    size = pick("size", ("little", "young", "brave"))
    return (
        f"Once upon a time there was a {size} {subject} called {hero}. "
        f"{hero} lived {pick('place', PLACES)} and was {pick('mood', ('happy', 'curious', 'kind'))}. "
        f"But {hero} had one big wish: to {wish}. "
        f"One {pick('hour', ('morning', 'day', 'evening'))} the {subject} took a bag and left home. "
        f"{pick('trouble', TROUBLES)} The {subject} felt {pick('fear', ('afraid', 'tired', 'alone'))} "
        f"and sat down under a tree. "
        f'Then {friend} came along and asked, "Why are you sad, {subject}?" '
        f'"I want to {wish}," said {hero}, "but I do not know how." '
        f'"{pick("help", HELP)}," said the new friend, "and you will see." '
        f"So they went on together, {pick('walk', ('step by step', 'hand in hand', 'side by side'))}. "
        f"After {pick('days', ('two', 'three', 'seven'))} days the {subject} did it at last. "
        f"{hero} laughed and the friend laughed too. "
        f"They went home together {pick('end', ENDS)}. "
        f"And the {subject} was never alone again. The end."
    )


def any_subject(rng: random.Random) -> str:
    """The cat most often (the examples use it), then the listed subjects, then any word."""
    kind = rng.random()
    if kind < 0.2:
        return "cat"
    return rng.choice(SUBJECTS if kind < 0.75 else WORDS)
