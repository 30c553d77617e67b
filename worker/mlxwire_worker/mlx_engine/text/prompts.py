"""Converts texts and conversations to checked token ids, on the prepare thread.

Requests that would make a step of the engine raise, or compute a prompt in vain, are refused
here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import structs

from mlxwire_protocol import WireError, invalid_params

from ...prompts import (
    MOST_INSPECTED_TOKENS,
    ChatInput,
    ClassifyPrompts,
    Inspection,
    Prompt,
    SamplingParams,
)
from ...requests.admission import check_ids, check_labels, check_sampling, check_thinking
from ..loading import LoadedModel
from .channels import without_thoughts
from .template_process import TemplateProcess
from .thinking import Render, ThinkingSwitch, find_switch, opens_thought
from .tokenizer import Tokenizer

MAX_ROTATING_TOKENS = 1 << 30
"""Prompt and answer together, where a rotating window forgets what is too old."""
LONG_CHARACTERS = 1 << 20
"""Shorter texts are tokenized in less than a second."""


def check_params(params: SamplingParams, loaded: LoadedModel) -> None:
    """Refuse options that the model can't honour. Raises: WireError ``invalid_params``."""
    check_sampling(params, loaded.info.vocab_size)
    _check_minimum(params.min_tokens, _stop_ids(params, loaded), loaded.info.vocab_size)


def text_prompt(text: str, params: SamplingParams, field: str, loaded: LoadedModel) -> Prompt:
    """Tokenize and check a raw prompt; ``field`` is its name in errors. Raises: WireError."""
    room = _room(loaded)
    _check_length(text, field, loaded.tokenizer, room)
    return _prompt(loaded.tokenizer.encode_prompt(text), params, field, loaded)


def chat_prompt(
    chat: ChatInput, params: SamplingParams, loaded: LoadedModel, render: Render
) -> Prompt:
    """Render, tokenize and check a conversation. Raises: WireError."""
    check = _length_check("messages", loaded)
    ids = encode_conversation(chat, loaded, render, check)
    prompt = _prompt(ids, params, "messages", loaded)
    if prompt.constraint is not None:
        _check_thoughtless(chat, loaded.tokenizer.decode(ids[-16:]))
    return prompt


def _check_thoughtless(chat: ChatInput, end: str) -> None:
    """Refuse a form beside thinking: the thought would have to have the form too.

    ``end`` is that of the prompt. Raises: WireError ``invalid_params``.
    """
    if chat.thinking or opens_thought(end):
        raise invalid_params(
            "response_format",
            "`response_format` can't be combined with thinking, which comes before the answer; "
            "set `thinking` to false, or leave `response_format` out",
        )


def encode_conversation(
    chat: ChatInput,
    loaded: LoadedModel,
    render: Render,
    check: Callable[[str], None] = lambda _: None,
) -> list[int]:
    """Return the token ids of a conversation; ``check`` sees its rendered text first, and may raise.

    Raises: WireError where the model has no template, or the template refuses the messages.
    """
    if loaded.template is None:
        raise _no_template()
    check_thinking(chat.thinking, has_switch=loaded.switch is not None)
    return encode_chat(
        chat, loaded.template, loaded.tokenizer, render, check, switch=loaded.switch
    )


def encode_chat(
    chat: ChatInput,
    template: str,
    tokenizer: Tokenizer,
    render: Render,
    check: Callable[[str], None] = lambda _: None,
    *,
    switch: ThinkingSwitch | None = None,
) -> list[int]:
    """Return the token ids of a conversation; control tokens in messages count if it says so.

    ``check`` sees the rendered text before it is tokenized, and may raise.
    Raises: WireError ``invalid_params`` where the template refuses the messages.
    """
    variables = template_variables(chat, tokenizer.special_tokens, switch)
    messages = variables["messages"] = without_thoughts(chat.messages, template)
    if chat.special_tokens:
        rendered = render(template, variables)
        check(rendered)
        return tokenizer.encode(rendered, add_special_tokens=False)
    control = tokenizer.control_tokens
    mark, marked = control.mark(messages)
    rendered = render(template, variables)
    if marked != messages:
        plain = rendered
        rendered = render(template, {**variables, "messages": marked}, mark)
        if rendered.replace(mark, "") != plain and control.may_replace(
            plain, rendered, messages
        ):
            rendered = plain
    return control.encode(rendered, mark, check)


def settle_template(loaded: LoadedModel, templates: TemplateProcess) -> None:
    """Compile the chat template and find its switch for thinking, and note it in ``info``.

    Raises: WireError ``model_load_failed`` or ``unavailable``.
    """
    if loaded.template is None:
        return
    templates.check(loaded.template)
    variables = template_variables(ChatInput(messages=[]), loaded.tokenizer.special_tokens)
    loaded.switch = find_switch(loaded.template, variables, templates.render)
    told = {**loaded.info.capabilities, "thinking": loaded.switch is not None}
    loaded.info = structs.replace(loaded.info, capabilities=told)


def template_variables(
    chat: ChatInput, special_tokens: dict[str, str], switch: ThinkingSwitch | None = None
) -> dict[str, Any]:
    """Return the variables of a template; without ``thinking`` its own default holds."""
    variables: dict[str, Any] = {
        **special_tokens,
        "messages": list(chat.messages),
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
    }
    if chat.thinking is not None and switch is not None:
        variables.update(switch.variables(chat.thinking))
    elif chat.enable_thinking:
        variables["enable_thinking"] = True
    return variables


def classify_prompts(
    texts: list[str],
    asked: list[str],
    logits: bool,
    params: SamplingParams,
    loaded: LoadedModel,
) -> ClassifyPrompts:
    """Tokenize and check the prompts and labels of a `classify`. Raises: WireError."""
    check_labels(asked)
    limits = {"vocabulary": loaded.info.vocab_size, "context_len": loaded.info.context_len}
    prompts = []
    for index, prompt in enumerate(texts):
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
    drawn = Prompt(
        ids=[],
        max_tokens=1,
        stop_ids=frozenset(),
        detokenizer=loaded.tokenizer.detokenizer([]),
        params=params,
    )
    return ClassifyPrompts(
        prompts=prompts,
        labels=labels,
        logits=logits,
        drawn=drawn if params.temperature else None,
    )


def inspection(
    text: str, layers: list[int] | None, path: str, loaded: LoadedModel
) -> Inspection:
    """Tokenize and check a prompt to inspect. Raises: WireError."""
    room = min(loaded.info.context_len, MOST_INSPECTED_TOKENS + 1)
    _check_length(text, "prompt", loaded.tokenizer, room)
    ids = loaded.tokenizer.encode_prompt(text)
    check_ids(ids, "prompt", vocabulary=loaded.info.vocab_size, context_len=room)
    return Inspection(ids=ids, layers=layers, path=path)


def _prompt(ids: list[int], params: SamplingParams, field: str, loaded: LoadedModel) -> Prompt:
    room = _room(loaded)
    check_ids(ids, field, vocabulary=loaded.info.vocab_size, context_len=room)
    stop_ids = _stop_ids(params, loaded)
    return Prompt(
        ids=ids,
        max_tokens=min(params.max_tokens, room - len(ids)),
        stop_ids=stop_ids,
        detokenizer=loaded.tokenizer.detokenizer(ids),
        params=params,
        constraint=loaded.constraints.make(params.response_format, stop_ids),
    )


def _room(loaded: LoadedModel) -> int:
    """Return the number of tokens that prompt and answer may have together."""
    rotates = loaded.context_policy == "rotate"
    return MAX_ROTATING_TOKENS if rotates else loaded.info.context_len


def _stop_ids(params: SamplingParams, loaded: LoadedModel) -> frozenset[int]:
    own = frozenset(params.stop_tokens)
    return own if params.ignore_eos else own | loaded.eos_ids


def _check_minimum(min_tokens: int, stop_ids: frozenset[int], vocabulary: int) -> None:
    """Refuse `min_tokens` if every token is a stop token: no token could be chosen."""
    if min_tokens and len(stop_ids) >= vocabulary:
        raise invalid_params(
            "stop_tokens",
            f"`stop_tokens` has all {vocabulary} tokens of the vocabulary, so `min_tokens` leaves "
            "no token to choose; give fewer `stop_tokens`, or leave `min_tokens` out",
        )


def _length_check(field: str, loaded: LoadedModel) -> Callable[[str], None]:
    def check(text: str) -> None:
        _check_length(text, field, loaded.tokenizer, _room(loaded))

    return check


def _check_length(text: str, field: str, tokenizer: Tokenizer, room: int) -> None:
    """Refuse a long text that can't fit the context, before it is tokenized."""
    if len(text) < LONG_CHARACTERS:
        return
    least = tokenizer.at_least(text, room)
    if least >= room:
        raise WireError(
            "context_overflow",
            f"`{field}` has at least {least} tokens, but the context has room for {room}, the "
            "answer included; shorten it, or load the model with a larger `context_len`",
            data={
                "field": field,
                "prompt_tokens": least,
                "context_len": room,
                "at_least": True,
            },
        )


def _no_template() -> WireError:
    return WireError(
        "unsupported_capability",
        "this model has no chat template; use `generate`, or add a chat_template.jinja to its "
        "folder",
        data={"missing": ["chat"]},
    )
