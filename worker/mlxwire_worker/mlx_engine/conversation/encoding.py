"""Renders a conversation through the model's chat template, and returns its token ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec import structs

from mlxwire_protocol import WireError

from ...prompts import ChatInput
from ..text.fast_tokenizer import Located
from ..text.thinking import Render, ThinkingSwitch
from ..text.tokenizer import Tokenizer
from .boundaries import Boundaries
from .harmony_turns import without_thoughts
from .turn_forms import Turn, TurnForms

AS_GIVEN = TurnForms()


class ChatForm(NamedTuple):
    """A template, and the forms and variables in which it reads conversations."""

    template: str
    forms: TurnForms = AS_GIVEN
    needs_system: bool = False
    switch: ThinkingSwitch | None = None


class EncodedChat(NamedTuple):
    """A conversation as its model reads it: the text, and its token ids.

    ``ends`` are the lengths in tokens at which the messages end, the first one first; a message whose
    end is not known ends where the one before it does. If the text ``opens`` further turns, these come
    behind all of it, also behind what asks for the answer.
    """

    ids: list[int]
    text: str
    ends: list[int]
    opens: bool


FindBoundaries = Callable[[str, dict[str, Any], str, list[int]], Boundaries]
"""Maps a template, its variables, its text and numbers of turns to where these turns end."""


def encode_chat(
    chat: ChatInput,
    template: str,
    tokenizer: Tokenizer,
    render: Render,
    check: Callable[[str], None] = lambda _: None,
    *,
    switch: ThinkingSwitch | None = None,
    forms: TurnForms = AS_GIVEN,
    needs_system: bool = False,
    cut: Callable[[str], str] = lambda rendered: rendered,
) -> list[int]:
    """Return the token ids of a conversation; control tokens in messages count if it says so.

    ``cut`` returns the part of the rendered text to encode. ``check`` sees that part before it is
    tokenized, and may raise. With ``needs_system`` a
    conversation without a turn of the system gets an empty one.
    A template that needs ``properties`` in the schemas of tools gets empty ones where they lack.
    Raises: WireError ``invalid_params`` where the template refuses the messages.
    """
    form = ChatForm(template, forms, needs_system, switch)
    return encode_with_ends(chat, form, tokenizer, render, None, check, cut).ids


def encode_with_ends(
    chat: ChatInput,
    form: ChatForm,
    tokenizer: Tokenizer,
    render: Render,
    find: FindBoundaries | None,
    check: Callable[[str], None] = lambda _: None,
    cut: Callable[[str], str] = lambda rendered: rendered,
) -> EncodedChat:
    """Encode a conversation as `encode_chat` does, and find where its messages end, if asked to.

    Raises: WireError ``invalid_params`` where the template refuses the messages.
    """

    def encoded(chat: ChatInput) -> EncodedChat:
        return _encoded(chat, form, tokenizer, render, find, check, cut)

    try:
        return encoded(chat)
    except WireError as problem:
        tools = [_with_properties(tool) for tool in chat.tools]
        if problem.code != "invalid_params" or tools == chat.tools:
            raise
        return encoded(structs.replace(chat, tools=tools))


def _with_properties(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool whose parameters have ``properties``."""
    function = tool["function"]
    parameters = {"type": "object", "properties": {}, **(function.get("parameters") or {})}
    return {**tool, "function": {**function, "parameters": parameters}}


def _encoded(
    chat: ChatInput,
    form: ChatForm,
    tokenizer: Tokenizer,
    render: Render,
    find: FindBoundaries | None,
    check: Callable[[str], None],
    cut: Callable[[str], str],
) -> EncodedChat:
    template = form.template
    variables = template_variables(chat, tokenizer.special_tokens, form.switch)
    messages = _turns(chat.messages, form)
    variables["messages"] = messages
    plain = rendered = render(template, variables)
    _check_tools(rendered, chat)
    if chat.special_tokens:
        plain = rendered = cut(rendered)
        check(rendered)
        if find is None:
            found = Located(tokenizer.encode(rendered, add_special_tokens=False), [])
        else:
            found = tokenizer.locate(rendered)
    else:
        control = tokenizer.control_tokens
        mark, marked, marked_tools = control.mark(messages, chat.tools)
        if marked != messages or marked_tools != chat.tools:
            marks = {"messages": marked, "tools": marked_tools or None}
            rendered = render(template, {**variables, **marks}, mark)
            if rendered.replace(mark, "") != plain and control.may_replace(
                plain, rendered, [*messages, *chat.tools]
            ):
                rendered = plain
        rendered = cut(rendered)
        found = control.locate(rendered, mark, check, ends=find is not None)
        plain = rendered.replace(mark, "")
    if find is None:
        return EncodedChat(found.ids, plain, [], opens=False)
    counts = _turn_counts(chat.messages, messages, form)
    wanted = sorted({count for count in counts if count is not None})
    boundaries = find(template, variables, plain, wanted)
    places = dict(zip(wanted, boundaries.ends, strict=True))
    ends: list[int] = []
    for count in counts:
        place = None if count is None else places[count]
        last = ends[-1] if ends else 0
        ends.append(last if place is None else max(last, found.tokens_in(place)))
    if ends and places[len(messages)] is None:
        ends[-1] = len(found.ids)
    return EncodedChat(found.ids, plain, ends, boundaries.opens)


def _turns(messages: list[Turn], form: ChatForm) -> list[Turn]:
    """Return the turns of the template that messages become."""
    turns = form.forms.turns(without_thoughts(messages, form.template))
    if form.needs_system and all(turn["role"] != "system" for turn in turns):
        return [{"role": "system", "content": ""}, *turns]
    return turns


def _turn_counts(messages: list[Turn], turns: list[Turn], form: ChatForm) -> list[int | None]:
    """Return how many turns the messages up to each one become.

    None stands for those whose turns are mixed with those of later messages.
    """
    counts: list[int | None] = []
    for size in range(1, len(messages) + 1):
        own = turns if size == len(messages) else _turns(messages[:size], form)
        counts.append(len(own) if own == turns[: len(own)] else None)
    return counts


def template_variables(
    chat: ChatInput, special_tokens: dict[str, str], switch: ThinkingSwitch | None = None
) -> dict[str, Any]:
    """Return the variables of a template; without ``thinking`` its own default holds."""
    variables: dict[str, Any] = {
        **special_tokens,
        "messages": list(chat.messages),
        "tools": chat.tools or None,
        "documents": None,
        "add_generation_prompt": chat.asks,
    }
    if chat.thinking is not None and switch is not None:
        variables.update(switch.variables(chat.thinking))
    elif chat.enable_thinking:
        variables["enable_thinking"] = True
    return variables


def _check_tools(rendered: str, chat: ChatInput) -> None:
    """Refuse a conversation in which the template has left out a tool."""
    for place, tool in enumerate(chat.tools):
        name = tool["function"]["name"]
        if name not in rendered:
            raise WireError(
                "unsupported_capability",
                f"the chat template of this model leaves the tool {name!r} out of this "
                "conversation; begin it with a turn of the system or the user, or leave `tools` out",
                data={"missing": ["tools"], "field": f"tools[{place}]"},
            )
