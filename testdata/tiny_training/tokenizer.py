"""Trains the byte-level BPE and writes it with the tokenizer's settings.

Merges grow from a word's first character only. So a word that stands after a space is one or a few
tokens, while one that opens a reply (a reversed word, say) is spelled letter by letter: the same
text always has the same tokens, and the model can spell.
"""

import argparse
import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path

from conversations import conversation
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

ENTRIES = 960
ROLES = ("system", "user", "assistant", "tool")
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
PATTERN = (
    r"(?:" + "|".join(ROLES) + r")\n"  # a chat turn's head
    r'| ?"[a-z_]+'  # a quoted word: a JSON key, a tool's name
    r"| ?[a-z]+|[A-Z]{2,}|[A-Z][a-z]*|\p{L}|\p{N}"  # every digit stands alone
    r'| ?(?:[^\s\p{L}\p{N}"]|"(?![a-z_]))+'
    r"|\s"
)


def pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def sample_texts(seed: int, count: int) -> list[str]:
    """Conversations without their control tokens, which never take part in merges."""
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        groups = islice(conversation(rng, room=1024), 10)
        text = "".join(piece for group in groups for piece, _ in group)
        for token in CONTROL + TAGS:
            text = text.replace(token, "\x00")
        texts.extend(text.split("\x00"))
    return texts


def role_merges() -> list[tuple[str, str]]:
    """A role and its line feed become one token, from the right, so that no word shares the parts."""
    merges: list[tuple[str, str]] = []
    for role in ROLES:
        tail = "Ċ"
        for letter in reversed(role):
            if (letter, tail) not in merges:
                merges.append((letter, tail))
            tail = letter + tail
    return merges


def prefix_merges(texts: list[str], count: int) -> list[tuple[str, str]]:
    """The most frequent pairs of a word's first unit and what follows, merged one at a time.

    A word counts with its frequency to the power 0.75: else the stories' few words take every entry.
    """
    splitter = pre_tokenizer()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    spelled = {
        word: list(word)
        for word in words
        if len(word) > 1 and not ("a" <= word[0] <= "z") and "Ċ" not in word and words[word] > 1
    }
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, units in spelled.items():
            if len(units) > 1:
                pairs[units[0], units[1]] += int(words[word] ** 0.75)
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for units in spelled.values():
            if tuple(units[:2]) == best:
                units[:2] = ["".join(best)]
    return merges


def build(seed: int = 7) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = role_merges()
    merges += prefix_merges(
        sample_texts(seed, 4000), ENTRIES - 256 - len(merges) - len(CONTROL + TAGS)
    )
    vocabulary = {token: at for at, token in enumerate(alphabet + [a + b for a, b in merges])}
    built = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    built.pre_tokenizer = pre_tokenizer()
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in CONTROL]
    )
    built.add_tokens([AddedToken(token, special=False, normalized=False) for token in TAGS])
    return built


def write(folder: Path) -> None:
    built = build()
    built.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    print(f"{built.get_vocab_size()} entries")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
