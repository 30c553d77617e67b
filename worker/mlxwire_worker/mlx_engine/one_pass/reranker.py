"""Finds out how a folder's model reranks: by a prompt for each pair, whose answer is yes or no.

Folders say so in one of these ways: sentence-transformers' `LogitScore` in modules.json, vLLM's
`classifier_from_token` in config.json, a chat template or a model card that tells it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from mlxwire_protocol import WireError

from ...prompts import ChatInput
from ..text.chat_template import Templates

if TYPE_CHECKING:
    from ..text.tokenizer import Tokenizer

_QWEN3_TEMPLATE = (
    "{{- '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".'
    "<|im_end|>\n<|im_start|>user\n<Instruct>: ' + messages[0].content + '\n<Query>: ' "
    "+ messages[1].content + '\n<Document>: ' + messages[2].content + "
    "'<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n' -}}"
)
_QWEN3_INSTRUCTION = (
    "Given a web search query, retrieve relevant passages that answer the query"
)
_QWEN3_NEEDS = ("<|im_start|>", "<|im_end|>")
_JUDGES = 'the answer can only be "yes" or "no"'
_ROLES = re.compile(r"""["']document["']""")
_CARD = re.compile(
    r"^#\s*(?:[\w.-]+/)?Qwen3-Reranker|^(?:base_model:|\s*-)\s*['\"]?Qwen/Qwen3-Reranker",
    re.MULTILINE,
)
"""The title, or the model that was converted or trained further. The task alone tells no prompt."""
_CARD_BYTES = 1 << 16
_ANSWERS = ("no", "yes")


class Reranker(NamedTuple):
    """The prompt of a reranking model, and the ids of the tokens that say yes and no.

    Without ``no`` the score is the logistic function of the logit of ``yes``. ``instruction`` is the
    default that the template lacks.
    """

    yes: int
    no: int | None
    template: str
    instruction: str | None

    def conversation(self, query: str, document: str, instruction: str | None) -> ChatInput:
        """Return a pair as the template reads it: turns of the roles `query` and `document`."""
        turns = [
            {"role": "query", "content": query},
            {"role": "document", "content": document},
        ]
        if told := instruction or self.instruction:
            turns.insert(0, {"role": "system", "content": told})
        return ChatInput(messages=turns)


def find_reranker(
    path: Path, config: dict[str, Any], templates: Templates | None, tokenizer: Tokenizer
) -> Reranker | None:
    """Return how a folder's model reranks; None if nothing in the folder says that it does."""
    own = templates.default if templates is not None else ""
    tokens = _tokens_of_module(path)
    reads_roles = tokens is not None or _ROLES.search(own) is not None
    if tokens is None:
        tokens = _tokens_of_config(config, tokenizer)
    if tokens is None and (_JUDGES in own or _is_said_by_card(path)):
        tokens = _ids(_ANSWERS, tokenizer)
    if tokens is None or not all(token is None or token < tokenizer.size for token in tokens):
        return None
    no, yes = tokens
    if reads_roles and own:
        return Reranker(yes, no, own, None)
    if tokens != _ids(_ANSWERS, tokenizer):
        return None  # another kind, whose prompt nothing tells
    if any(tokenizer.token_id(token) is None for token in _QWEN3_NEEDS):
        return None
    return Reranker(yes, no, _QWEN3_TEMPLATE, _QWEN3_INSTRUCTION)


def says_that_it_reranks(
    path: Path, config: dict[str, Any], templates: Templates | None
) -> bool:
    """Return True if something in a folder says that its model reranks; its tokens are not known yet."""
    return (
        _tokens_of_module(path) is not None
        or _answers_in(config) is not None
        or (templates is not None and _JUDGES in templates.default)
        or _is_said_by_card(path)
    )


def no_reranker() -> WireError:
    """Return the error for a `rerank` by a model that does not say that it reranks."""
    return WireError(
        "unsupported_capability",
        "nothing in this model's folder says that it reranks; load a reranking model, such as "
        'Qwen3-Reranker. If this is one, write `"classifier_from_token": ["no", "yes"]` into its '
        "config.json and load it again",
        data={"missing": ["rerank"]},
    )


def _tokens_of_module(path: Path) -> tuple[int | None, int] | None:
    """Return the tokens of sentence-transformers' `LogitScore`; None without that module."""
    modules = _json(path / "modules.json")
    for module in modules if isinstance(modules, list) else []:
        if isinstance(module, dict) and str(module.get("type")).endswith(".LogitScore"):
            folder = str(module.get("path") or "")
            settings = _json(path / folder / "config.json") if _is_plain(folder) else None
            if not isinstance(settings, dict):
                return None
            yes, no = settings.get("true_token_id"), settings.get("false_token_id")
            if _is_id(yes) and (no is None or _is_id(no)):
                return no, yes
    return None


def _tokens_of_config(
    config: dict[str, Any], tokenizer: Tokenizer
) -> tuple[int | None, int] | None:
    named = _answers_in(config)
    return None if named is None else _ids(named, tokenizer)


def _answers_in(config: dict[str, Any]) -> list[Any] | tuple[Any, ...] | None:
    """Return the texts of the tokens that a config names as no and yes; None if it names none."""
    named = config.get("classifier_from_token")
    if named is None and config.get("is_original_qwen3_reranker") is True:
        named = _ANSWERS
    return named if isinstance(named, list | tuple) and len(named) == 2 else None


def _ids(tokens: Any, tokenizer: Tokenizer) -> tuple[int | None, int] | None:
    found = [tokenizer.token_id(token) for token in tokens if isinstance(token, str)]
    if len(found) != 2 or found[1] is None or found[0] is None:
        return None
    return found[0], found[1]


def _is_said_by_card(path: Path) -> bool:
    """Return True if the model card is that of Qwen3-Reranker, or of one made from it."""
    try:
        with (path / "README.md").open("rb") as file:
            card = file.read(_CARD_BYTES).decode("utf-8", "replace")
    except OSError:
        return False
    return _CARD.search(card) is not None


def _is_plain(folder: str) -> bool:
    return bool(folder) and folder not in (".", "..") and not {"/", "\\"} & set(folder)


def _is_id(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
