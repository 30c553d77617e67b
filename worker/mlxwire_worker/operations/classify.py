"""`classify`: choose the token, or score the labels, that may follow each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

from mlxwire_protocol import invalid_params
from mlxwire_protocol.chat.turns import Message
from mlxwire_protocol.messages import Classify
from mlxwire_protocol.replies import Item

from ..passes import Classified, ClassifyInput, ClassifyPrompt, ClassifyPrompts
from ..prompts import ChatInput, SamplingParams
from ..requests.admission import empty_text
from ..requests.turns import plain_turns
from .texts.items import TextItems


class ClassifyOperation(TextItems[ClassifyPrompts, Classified]):
    """A `classify` request, whose prompts are computed in groups, slice by slice."""

    __slots__ = ()

    phase: ClassVar[str] = "classify"

    def texts(self) -> ClassifyPrompts:
        """Tokenize the prompts and labels."""
        request = self.job.command
        assert isinstance(request, Classify)
        params = drawing_params(request)
        self.engine.check_params(params)
        return self.engine.classify_prompts(classify_input(request), params)

    def compute(self, texts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        """Compute one slice."""
        return self.engine.classify(texts)

    def item(self, index: int, result: Classified) -> Struct:
        """Return a prompt's next token."""
        return Item(
            id=self.job.id,
            index=index,
            token=result.text,
            token_id=result.token_id,
            logprob=result.logprob,
            logits=result.logits,
            labels=result.labels,
        )


def classify_input(request: Classify) -> ClassifyInput:
    """Convert the prompts of a request, or its conversations, to the engine's type.

    An empty prompt becomes an error of its own. Raises: WireError ``invalid_params`` unless the request
    has one of both, and for turns that no model could read.
    """
    if (request.prompts is None) == (request.messages is None):
        raise invalid_params(
            "prompts",
            "`classify` takes either `prompts` or `messages`; give exactly one of them",
        )
    prompts: Sequence[ClassifyPrompt]
    if request.prompts is not None:
        fields = [f"prompts[{index}]" for index in range(len(request.prompts))]
        prompts = [
            prompt or empty_text(field)
            for prompt, field in zip(request.prompts, fields, strict=True)
        ]
    else:
        assert request.messages is not None
        conversations = _conversations(request.messages)
        prompts = [
            ChatInput(messages=plain_turns(turns, field)) for field, turns in conversations
        ]
        fields = [field for field, _ in conversations]
    return ClassifyInput(
        prompts=prompts,
        fields=fields,
        labels=request.labels or [],
        separator=request.separator,
        logits=request.logits,
    )


def _conversations(
    messages: Sequence[Message | list[Message]],
) -> list[tuple[str, list[Message]]]:
    """Return each conversation behind its name in errors.

    Raises: WireError ``invalid_params`` for turns beside whole conversations.
    """
    turns = [turn for turn in messages if isinstance(turn, Message)]
    if len(turns) == len(messages):
        return [("messages", turns)]
    if turns:
        place = next(n for n, turn in enumerate(messages) if isinstance(turn, Message))
        raise invalid_params(
            f"messages[{place}]",
            f"`messages[{place}]` is a turn, and others of `messages` are whole conversations; give "
            "the turns of one conversation, or a list of conversations",
        )
    return [
        (f"messages[{n}]", each) for n, each in enumerate(messages) if isinstance(each, list)
    ]


def drawing_params(request: Classify) -> SamplingParams:
    """Convert the options that choose a prompt's token to the engine's type."""
    return SamplingParams(
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        min_p=request.min_p,
        seed=request.seed,
        adapter=request.adapter,
    )
