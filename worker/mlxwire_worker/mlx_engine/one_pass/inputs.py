"""Converts prompts and texts to checked token ids for one-pass work, on the prepare thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec import structs

from mlxwire_protocol import WireError

from ...passes import ClassifyInput, ClassifyPrompt, ClassifyPrompts, Endings, TextInput, Texts
from ...prompts import ChatInput, Prompt, SamplingParams
from ...requests.admission import check_given, check_ids, check_known, check_labels
from ..conversation.answer_place import before_answer
from ..conversation.encoding import encode_chat
from ..loading import LoadedModel
from ..preparing import adapter_of, encode_conversation, no_template
from ..text.continuations import Continuations
from ..text.thinking import Render
from .reranker import no_reranker


def classify_prompts(
    given: ClassifyInput, params: SamplingParams, loaded: LoadedModel, render: Render
) -> ClassifyPrompts:
    """Tokenize and check the prompts and labels of a `classify`.

    A prompt that is an error, is too long, or that the template refuses, fails by itself. Raises:
    WireError for labels, and where conversations need a chat template.
    """
    check_labels(given.labels)
    tokenizer = loaded.tokenizer
    continuations = Continuations(tokenizer, given.labels)
    for index, label in enumerate(continuations.apart.labels):
        _check(list(label), f"labels[{index}]", loaded)
    if loaded.templates is None and any(isinstance(each, ChatInput) for each in given.prompts):
        raise no_template()
    ids: list[list[int]] = []
    endings: list[Endings] = []
    failed: dict[int, WireError] = {}
    for place, (prompt, field) in enumerate(zip(given.prompts, given.fields, strict=True)):
        try:
            text, own = _prompt(prompt, field, given.separator, loaded, render)
            ending = continuations.after(text, own)
            longest = max(map(len, ending.labels), default=0)
            _check(own, field, loaded, extra=longest - ending.replaced)
        except WireError as error:
            # Its traceback would hold this call in a cycle.
            failed[place], own, ending = error.with_traceback(None), [], Endings()
        ids.append(own)
        endings.append(ending)
    drawn = Prompt(
        ids=[],
        max_tokens=1,
        stop_ids=frozenset(),
        detokenizer=tokenizer.detokenizer([]),
        params=params,
    )
    return ClassifyPrompts(
        ids=ids,
        labels=given.labels,
        endings=endings,
        failed=failed,
        logits=given.logits,
        drawn=drawn if params.temperature else None,
        adapter=adapter_of(params.adapter, loaded),
    )


def _prompt(
    prompt: ClassifyPrompt, field: str, separator: str, loaded: LoadedModel, render: Render
) -> tuple[str, list[int]]:
    """Return a prompt's text with the separator, and its token ids. Raises: WireError."""
    if isinstance(prompt, WireError):
        raise prompt
    check = _length_check(field, loaded)
    if isinstance(prompt, str):
        text = prompt + separator
        check(text)
        return text, loaded.tokenizer.encode_prompt(text)
    has_switch = loaded.switch is not None
    chat = structs.replace(prompt, thinking=False) if has_switch else prompt
    encode = partial(_encode, loaded, render)
    return before_answer(chat, encode, check, separator=separator, closes_thought=has_switch)


def _encode(
    loaded: LoadedModel,
    render: Render,
    chat: ChatInput,
    check: Callable[[str], None],
    cut: Callable[[str], str],
) -> list[int]:
    return encode_conversation(chat, loaded, render, check, cut)


def _length_check(
    field: str, loaded: LoadedModel, *, answered: bool = True
) -> Callable[[str], None]:
    return partial(
        loaded.tokenizer.refuse_long,
        field=field,
        room=loaded.info.context_len,
        answered=answered,
    )


def _check(
    ids: list[int], field: str, loaded: LoadedModel, *, extra: int = 0, answered: bool = True
) -> None:
    check_ids(
        ids,
        field,
        vocabulary=loaded.info.vocab_size,
        context_len=loaded.info.context_len,
        extra=extra,
        answered=answered,
    )


def score_texts(texts: list[TextInput], adapter: str | None, loaded: LoadedModel) -> Texts:
    """Tokenize and check the texts of a `score`; one that is empty or too long fails by itself.

    Raises: WireError ``invalid_params`` for token ids past the vocabulary.
    """
    ids: list[list[int]] = []
    failed: dict[int, WireError] = {}
    for place, text in enumerate(texts):
        field = f"texts[{place}]"
        try:
            check_given(text, field)
            own = _text_ids(text, field, loaded)
            _check(own, field, loaded, answered=False)
        except WireError as error:
            if error.field != field:
                raise
            failed[place], own = error.with_traceback(None), []
        ids.append(own)
    return Texts(ids=ids, failed=failed, adapter=adapter_of(adapter, loaded))


def _text_ids(text: TextInput, field: str, loaded: LoadedModel) -> list[int]:
    """Return the ids of a text, as `generate` tokenizes it, or the ids as given. Raises: WireError."""
    if not isinstance(text, str):
        check_known(text, field, loaded.info.vocab_size)
        return text
    _length_check(field, loaded, answered=False)(text)
    return loaded.tokenizer.encode_prompt(text)


def rerank_pairs(
    query: str,
    documents: list[str],
    instruction: str | None,
    adapter: str | None,
    loaded: LoadedModel,
    render: Render,
) -> Texts:
    """Tokenize and check a query with each document, as the model's reranking prompt has them.

    Raises: WireError, also for one document that is too long, and if the model is no reranker.
    """
    reranker = loaded.reranker
    if reranker is None:
        raise no_reranker()
    _length_check("query", loaded)(query)
    alone = loaded.tokenizer.encode(query, add_special_tokens=False)
    _check(alone, "query", loaded, answered=False)
    pairs = []
    for place, document in enumerate(documents):
        field = f"documents[{place}]"
        own = encode_chat(
            reranker.conversation(query, document, instruction),
            reranker.template,
            loaded.tokenizer,
            render,
            _length_check(field, loaded),
        )
        _check(own, field, loaded, answered=False)
        pairs.append(own)
    return Texts(ids=pairs, options=reranker, adapter=adapter_of(adapter, loaded))
