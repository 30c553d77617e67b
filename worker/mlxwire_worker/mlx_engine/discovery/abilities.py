"""Works out from a folder's chat template and added tokens what a model can do, without a render.

A load renders short conversations to find out. Here a template is taken to know what it mentions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ...output.marked import ThoughtMarks
from ...output.tool_calls.registry import find_family
from ..models.config.architectures import module_of, source_of
from ..models.config.bare import BareTrunk
from ..models.model_files import text_settings
from ..models.preflight import CheckedModel
from ..one_pass.reranker import says_that_it_reranks
from ..text.chat_template import Templates
from ..text.thinking import find_marks, mentions_switch, writes_channels
from ..vectors import NOT_OF_HEADLESS

_HEAD_BYTES = 1 << 20
"""The part of a tokenizer.json in which its added tokens are looked for; they stand first."""
_ADDED = re.compile(r'"added_tokens"\s*:\s*(?=\[)')
_TIED = re.compile(r"^    tie_word_embeddings: \w+(?: = (\w+))?", re.MULTILINE)
"""The member of a module's ModelArgs, and its default."""
_OF_TEMPLATES = (
    *("thinking", "thoughts", "thinking_budget", "tools", "required_calls", "strict_tools"),
)
_WITHOUT_LOGITS = dict.fromkeys(("chat", "classify", "score", "rerank"), False)
_FOREIGN_MARKS = (
    ("<longcat_tool_call>",),
    ("<|tool_list_start|>",),
    ("<|tool_call_start|>",),
    ('<function name="', '<param name="'),
    ("<atem:function_calls>",),
    ("<tool_call>", "tool_call.name"),
)
"""Marks by which mlx-lm chooses a parser of its own, for families that the worker has none for."""
_FOREIGN_TOKENS = (
    ("<|open|>", "<|close|>", "<|sep|>"),
    ("<|tool_call_start|>", "<|tool_call_end|>"),
)


def abilities(
    checked: CheckedModel, templates: Templates | None, *, embeds: bool
) -> dict[str, Any]:
    """Return the capabilities of `info` that can be read from the files of a causal model.

    ``embeds`` is False if the folder describes vectors that can't be computed.
    """
    path, config = checked.path, checked.config
    found = {
        **dict.fromkeys(_OF_TEMPLATES, False),
        "chat": templates is not None,
        "classify": True,
        "score": True,
        "embed": embeds,
        "rerank": says_that_it_reranks(path, config, templates),
        **(_of_templates(path, templates) if templates is not None else {}),
    }
    if _lacks_head(checked):
        return {**dict.fromkeys(NOT_OF_HEADLESS, False), **found, **_WITHOUT_LOGITS}
    return found


def _of_templates(path: Path, templates: Templates) -> dict[str, bool]:
    tokens = added_tokens(path)
    harmony = writes_channels(templates.default, tokens)
    marks = None if harmony else find_marks(templates.default, tokens)
    family = None if harmony else find_family(templates.tool_use, tokens)
    known = harmony or family is not None
    foreign = not known and _has_foreign_calls(templates.tool_use, tokens)
    asks = re.search(r"\btools\b", templates.tool_use) is not None
    formed = asks and (harmony or (family is not None and family.has_grammar))
    return {
        "thinking": mentions_switch(templates.default),
        "thoughts": harmony or marks is not None,
        "thinking_budget": _are_tokens(marks, tokens, harmony=harmony),
        "tools": asks and (known or foreign),
        "required_calls": formed,
        "strict_tools": formed and (family is None or family.enforces_strict),
    }


def _lacks_head(checked: CheckedModel) -> bool:
    """Return True for a model of vectors without a head, whose embeddings do not serve as one."""
    config = checked.config
    if not BareTrunk(checked.path, config, checked.tensors).may_lack_head:
        return False
    told = {**config, **text_settings(config)}.get("tie_word_embeddings")
    module = module_of(config)
    declared = None if module is None else _TIED.search(source_of(module))
    if declared is None:
        return False
    return not (told if told is not None else declared[1] == "True")


def added_tokens(folder: Path) -> list[str]:
    """Return the texts of the added tokens that the tokenizer's files list."""
    found: dict[str, None] = {}
    try:
        with (folder / "tokenizer.json").open("rb") as file:
            head = file.read(_HEAD_BYTES).decode("utf-8", "ignore")
        if (place := _ADDED.search(head)) is not None:
            listed, _ = json.JSONDecoder().raw_decode(head, place.end())
            found.update(dict.fromkeys(_contents(listed)))
    except (OSError, ValueError, RecursionError):
        pass  # a full check reads the whole file
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        declared = config.get("added_tokens_decoder")
        found.update(dict.fromkeys(_contents(list(declared.values()))))
    except (OSError, ValueError, RecursionError, AttributeError):
        pass
    return list(found)


def _contents(listed: list[Any]) -> list[str]:
    return [
        each["content"]
        for each in listed
        if isinstance(each, dict) and isinstance(each.get("content"), str)
    ]


def _has_foreign_calls(template: str, tokens: Collection[str]) -> bool:
    return any(all(mark in template for mark in marks) for marks in _FOREIGN_MARKS) or any(
        set(marks) <= set(tokens) for marks in _FOREIGN_TOKENS
    )


def _are_tokens(marks: ThoughtMarks | None, tokens: list[str], *, harmony: bool) -> bool:
    """Return True if the marks of a thought begin with tokens of their own."""
    if harmony:
        return {"<|channel|>", "<|end|>", "<|start|>"} <= set(tokens)
    return marks is not None and all(
        any(mark.startswith(token) for token in tokens if token) for mark in marks
    )
