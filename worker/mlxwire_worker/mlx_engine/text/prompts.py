"""From requests to token ids that the engine may take, on the prepare thread.

Whatever a request could make a step raise, or compute for nothing, is refused here.
"""

from __future__ import annotations

from mlxwire_protocol import WireError, invalid_params
from mlxwire_protocol.messages import Batch, Cache, Chat, Classify, Generate

from ...engine import ClassifyPrompts, Prompt
from ...requests.admission import check_ids, check_labels, check_sampling, warm_request
from ..loading import LoadedModel
from .chat_template import Render, encode_chat
from .tokenizer import Tokenizer

MAX_ROTATING_TOKENS = 1 << 30
"""Prompt and answer together, where a rotating window forgets what is too old."""
LONG_CHARACTERS = 1 << 20
"""Shorter texts are tokenized in less than a second."""


def prepare(
    request: Generate | Chat | Batch | Cache, index: int, loaded: LoadedModel, render: Render
) -> Prompt:
    """Template, tokens and limits; ``index`` is a batch's prompt. Raises: WireError."""
    if isinstance(request, Cache):
        request = warm_request(request)
    info = loaded.info
    stop_ids = frozenset(request.stop_tokens)
    if not request.ignore_eos:
        stop_ids |= loaded.eos_ids
    if index == 0:  # a batch's options are those of all its prompts
        check_sampling(request, info.vocab_size)
        _check_minimum(request.min_tokens, stop_ids, info.vocab_size)
    rotates = loaded.context_policy == "rotate"
    room = MAX_ROTATING_TOKENS if rotates else info.context_len
    field, ids = _encode(request, index, loaded, render, room)
    check_ids(ids, field, vocabulary=info.vocab_size, context_len=room)
    return Prompt(
        ids=ids,
        max_tokens=min(request.max_tokens, room - len(ids)),
        stop_ids=stop_ids,
        detokenizer=loaded.tokenizer.detokenizer(),
        request=request,
    )


def prepare_classify(request: Classify, loaded: LoadedModel) -> ClassifyPrompts:
    """Tokens and limits of every prompt and label. Raises: WireError."""
    asked = request.labels or []
    check_labels(asked)
    limits = {"vocabulary": loaded.info.vocab_size, "context_len": loaded.info.context_len}
    prompts = []
    for index, prompt in enumerate(request.prompts):
        _check_length(prompt, f"prompts[{index}]", loaded.tokenizer, loaded.info.context_len)
        prompts.append(loaded.tokenizer.encode_prompt(prompt))
    labels = {
        label: loaded.tokenizer.encode(label, add_special_tokens=False) for label in asked
    }
    longest_label = max(map(len, labels.values()), default=0)
    for index, ids in enumerate(prompts):
        check_ids(ids, f"prompts[{index}]", extra=longest_label, **limits)
    for index, ids in enumerate(labels.values()):
        check_ids(ids, f"labels[{index}]", **limits)
    return ClassifyPrompts(prompts=prompts, labels=labels, request=request)


def _check_minimum(min_tokens: int, stop_ids: frozenset[int], vocabulary: int) -> None:
    """Before `min_tokens` no stop token is chosen: another one must be left."""
    if min_tokens and len(stop_ids) >= vocabulary:
        raise invalid_params(
            "stop_tokens",
            f"all {vocabulary} tokens of the vocabulary end the text, so none is left for "
            "`min_tokens`; leave some out, or `min_tokens`",
        )


def _check_length(text: str, field: str, tokenizer: Tokenizer, room: int) -> None:
    """Refuse a text that can't fit before seconds are spent on its tokens."""
    if len(text) < LONG_CHARACTERS:
        return
    least = tokenizer.at_least(text, room)
    if least >= room:
        raise WireError(
            "context_overflow",
            f"`{field}` has at least {least} tokens and the context {room}, which leaves no room "
            "to answer; shorten it or load with a larger context_len",
            data={
                "field": field,
                "prompt_tokens": least,
                "context_len": room,
                "at_least": True,
            },
        )


def _encode(
    request: Generate | Chat | Batch,
    index: int,
    loaded: LoadedModel,
    render: Render,
    room: int,
) -> tuple[str, list[int]]:
    """The field that a prompt comes from, and its token ids."""
    tokenizer = loaded.tokenizer
    if isinstance(request, Chat):
        if loaded.template is None:
            raise _no_template()

        def check(text: str) -> None:
            _check_length(text, "messages", tokenizer, room)

        return "messages", encode_chat(request, loaded.template, tokenizer, render, check)
    field, text = (
        ("prompt", request.prompt)
        if isinstance(request, Generate)
        else (f"prompts[{index}]", request.prompts[index])
    )
    _check_length(text, field, tokenizer, room)
    return field, tokenizer.encode_prompt(text)


def _no_template() -> WireError:
    return WireError(
        "unsupported_capability",
        "this model has no chat template; use `generate`, or add a chat_template.jinja to its "
        "folder",
        data={"missing": ["chat"]},
    )
