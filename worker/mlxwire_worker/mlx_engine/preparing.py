"""Converts texts and conversations to checked token ids, on the prepare thread.

Requests that would make a step of the engine raise, or compute a prompt in vain, are refused
here.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from msgspec import structs

from mlxwire_protocol import WireError, invalid_params

from ..output.tool_calls.family import tools_of
from ..passes import MessageTokens, Rendered
from ..prompts import (
    MOST_INSPECTED_TOKENS,
    ChatInput,
    Inspection,
    Prompt,
    SamplingParams,
)
from ..requests.admission import check_ids, check_sampling, check_thinking
from .adapters.slots import AdapterInUse
from .answers.shaping import shape_answer
from .conversation.encoding import ChatForm, EncodedChat, FindBoundaries, encode_with_ends
from .loading import LoadedModel
from .text.thinking import Render

MAX_ROTATING_TOKENS = 1 << 30
"""Prompt and answer together, where a rotating window forgets what is too old."""


def check_params(params: SamplingParams, loaded: LoadedModel) -> None:
    """Refuse options that the model can't honour. Raises: WireError ``invalid_params``."""
    check_sampling(params, loaded.info.vocab_size)
    _check_minimum(params.min_tokens, _stop_ids(params, loaded), loaded.info.vocab_size)


def text_prompt(text: str, params: SamplingParams, field: str, loaded: LoadedModel) -> Prompt:
    """Tokenize and check a raw prompt; ``field`` is its name in errors. Raises: WireError."""
    room = _room(loaded)
    loaded.tokenizer.refuse_long(text, field, room)
    return _prompt(loaded.tokenizer.encode_prompt(text), params, field, loaded)


def chat_prompt(
    chat: ChatInput,
    params: SamplingParams,
    loaded: LoadedModel,
    render: Render,
    find: FindBoundaries,
) -> Prompt:
    """Render, tokenize and check a conversation, and find where others may part from it.

    Raises: WireError.
    """
    chat = _with_switch(chat, loaded)
    check = _length_check("messages", loaded)
    needed = params.cache and not loaded.policy.trimmable  # other caches are cut anywhere
    encoded = _encoded(chat, loaded, render, find if needed else None, check)
    prompt = _prompt(encoded.ids, params, "messages", loaded)
    if needed:
        # What asks for the answer belongs to the last message if it stands in later turns too.
        last = [len(encoded.ids)] if encoded.opens else encoded.ends[-1:]
        prompt.boundaries = [*encoded.ends[:-1], *last]
    shape_answer(prompt, chat, loaded)
    return prompt


def rendered_chat(
    chat: ChatInput, loaded: LoadedModel, render: Render, find: FindBoundaries
) -> Rendered:
    """Return the prompt that a conversation becomes, and the tokens of each message.

    Raises: WireError.
    """
    chat = _with_switch(chat, loaded)
    encoded = _encoded(chat, loaded, render, find)
    if chat.tools:
        loaded.argument_checks.of(tools_of(chat.tools))
    starts = [0, *encoded.ends]
    messages = [MessageTokens(start, end - start) for start, end in pairwise(starts)]
    return Rendered(encoded.text, encoded.ids, messages, starts[-1])


def chat_ids(chat: ChatInput, loaded: LoadedModel, render: Render) -> list[int]:
    """Return the token ids of a conversation, with the tools checked as for a chat.

    Raises: WireError.
    """
    ids = encode_conversation(chat, loaded, render)
    if chat.tools:
        loaded.argument_checks.of(tools_of(chat.tools))
    return ids


def _with_switch(chat: ChatInput, loaded: LoadedModel) -> ChatInput:
    """Turn thinking on or off for a budget, if the model has the switch."""
    if chat.thinking_budget is None or loaded.switch is None:
        return chat
    return structs.replace(chat, thinking=chat.thinking_budget > 0)


def encode_conversation(
    chat: ChatInput,
    loaded: LoadedModel,
    render: Render,
    check: Callable[[str], None] = lambda _: None,
    cut: Callable[[str], str] = lambda rendered: rendered,
) -> list[int]:
    """Return the token ids of a conversation; ``check`` and ``cut`` are as in `encode_chat`.

    Raises: WireError where the model has no template, or the template refuses the messages.
    """
    return _encoded(chat, loaded, render, None, check, cut).ids


def _encoded(
    chat: ChatInput,
    loaded: LoadedModel,
    render: Render,
    find: FindBoundaries | None,
    check: Callable[[str], None] = lambda _: None,
    cut: Callable[[str], str] = lambda rendered: rendered,
) -> EncodedChat:
    if loaded.templates is None:
        raise no_template()
    check_thinking(chat.thinking, has_switch=loaded.switch is not None)
    template, forms, needs_system = loaded.templates.default, loaded.renders.plain, False
    if chat.tools:
        if loaded.renders.tools is None:
            raise _no_tools()
        template, forms, needs_system = loaded.renders.tools
    form = ChatForm(template, forms, needs_system, loaded.switch)
    return encode_with_ends(chat, form, loaded.tokenizer, render, find, check, cut)


def inspection(
    text: str, layers: list[int] | None, path: str, loaded: LoadedModel
) -> Inspection:
    """Tokenize and check a prompt to inspect. Raises: WireError."""
    room = min(loaded.info.context_len, MOST_INSPECTED_TOKENS + 1)
    loaded.tokenizer.refuse_long(text, "prompt", room)
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
        adapter=adapter_of(params.adapter, loaded),
    )


def adapter_of(name: str | None, loaded: LoadedModel) -> AdapterInUse | None:
    """Return an adapter by its name. Raises: WireError ``invalid_params`` for an unknown one."""
    return None if name is None else loaded.adapters.named(name)


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
        loaded.tokenizer.refuse_long(text, field, _room(loaded))

    return check


def no_template() -> WireError:
    """Return the error for a conversation where the model has no chat template."""
    return WireError(
        "unsupported_capability",
        "this model has no chat template; use `generate`, or add a chat_template.jinja to its "
        "folder",
        data={"missing": ["chat"]},
    )


def _no_tools() -> WireError:
    return WireError(
        "unsupported_capability",
        "the chat template of this model does not render `tools`, so the model would not see them; "
        "leave them out, or load a model whose template knows tools (`info` lists the capabilities "
        "of the model)",
        data={"missing": ["tools"], "field": "tools"},
    )
