"""The requests of dialect 1 as types: fields, defaults and ranges in one place (SPEC §4).

The types check a request, generate its JSON Schema, and carry it through the worker. They refuse
unknown fields, except in `hello`: an option is honoured or named in an error.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from .chat.tools import ThinkingBudget, ToolChoice, ToolList
from .chat.turns import Conversation, Conversations
from .formats import ResponseFormat

MAX_SAFE_INTEGER = 2**53 - 1
MAX_ID_BYTES = 128

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES)]
Count = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]
Positive = Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]
ContextLength = Positive | Literal["auto"]
"""Tokens, or the most that fit into memory."""
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TokenIdText = Annotated[str, Meta(pattern="^(0|[1-9][0-9]{0,9})$")]
"""A token id as a name in an object, without leading zeros: no two names mean one token."""
Penalty = Annotated[float, Meta(ge=-100, le=100)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
StopString = Annotated[str, Meta(min_length=1, max_length=4096)]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]
AdapterName = Annotated[str, Meta(min_length=1, max_length=128)]
"""The name under which a host loads an adapter."""
AdapterFormat = Literal["mlx", "peft"]
"""The format of an adapter's folder: that of mlx-lm or that of PEFT."""
Prompts = Annotated[list[str], Meta(min_length=1, max_length=65536)]
"""An empty prompt fails by itself, in its item."""


class Command(Struct, kw_only=True, frozen=True, tag_field="cmd", forbid_unknown_fields=True):
    """The base of every request, with its id."""

    id: Id


class ClientInfo(Struct, kw_only=True, frozen=True):
    """The name and version of a client, for logs."""

    name: Annotated[str, Meta(max_length=256)] = ""
    version: Annotated[str, Meta(max_length=256)] = ""


class Hello(Command, kw_only=True, frozen=True, tag="hello", forbid_unknown_fields=False):
    """Open dialect 1: the versions a client speaks, capabilities it needs, events it wants."""

    protocols: Annotated[list[int], Meta(max_length=64)]
    client: ClientInfo = ClientInfo()
    require: Annotated[list[str], Meta(max_length=256)] = []
    events: Annotated[list[str], Meta(max_length=256)] = []


class Load(Command, kw_only=True, frozen=True, tag="load"):
    """Load a model folder, or a hub name if the host allows it, and replace the model."""

    path: Path
    context_len: ContextLength | None = None
    adapter_path: Path | None = None
    parallel_slots: Annotated[int, Meta(ge=1, le=4096)] | None = None
    warmup: bool = True
    context_policy: Literal["refuse", "rotate"] = "refuse"
    kv_bits: Literal[2, 3, 4, 6, 8] | None = None
    kv_group_size: Literal[32, 64, 128] = 64
    memory_limit: Count | None = None
    prompt_cache_limit: Count | None = None
    prefill_seconds: Annotated[float, Meta(gt=0, le=60)] = 0.1
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16", "stored"] = "auto"

    rotates_if_possible: ClassVar[bool] = False
    """True if the context is to rotate where the model can; only dialect 0's `load` sets it."""


class Unload(Command, kw_only=True, frozen=True, tag="unload"):
    """Drop the model and free its memory."""


class Info(Command, kw_only=True, frozen=True, tag="info"):
    """Describe the loaded model."""


class Streaming(Command, kw_only=True, frozen=True):
    """The limits of a request that streams: ``window`` in messages, ``deadline_seconds``."""

    window: Positive | None = None
    deadline_seconds: Annotated[float, Meta(gt=0, le=1e6)] | None = None


class Drawing(Streaming, kw_only=True, frozen=True):
    """Options that draw one token from a row of logits; `classify` takes no other sampling options.

    ``temperature`` 0 takes the likeliest token. Zero ``top_k`` or ``top_p`` is off. ``adapter`` is the
    name of a loaded adapter that computes with the model; None computes with the model alone.
    """

    adapter: AdapterName | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] = 0.0
    top_k: Count = 0
    top_p: Fraction = 1.0
    min_p: Fraction = 0.0
    seed: Count | None = None


class Sampling(Drawing, kw_only=True, frozen=True):
    """Options that choose tokens and end a text; shared by `generate`, `chat` and `batch`.

    ``repeat_penalty`` counts over the generated tokens alone (CTRL, arXiv:1909.05858):
    positive logits are divided by it, negative ones multiplied; zero is off.
    """

    max_tokens: Count = 256
    repeat_penalty: Annotated[float, Meta(ge=0, le=1000)] = 1.0
    stop: StopString | Annotated[list[StopString], Meta(max_length=64)] = []
    stop_tokens: Annotated[list[TokenId], Meta(max_length=1024)] = []
    ignore_eos: bool = False
    min_tokens: Count = 0
    xtc_probability: Fraction = 0.0
    xtc_threshold: Annotated[float, Meta(ge=0, le=0.5)] = 0.1
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    penalty_window: Count = 0
    logit_bias: Annotated[dict[TokenIdText, Penalty], Meta(max_length=4096)] = {}
    logprobs: bool = False
    top_logprobs: Annotated[int, Meta(ge=0, le=64)] = 0
    cache: bool = True
    response_format: ResponseFormat | None = None


class Generate(Sampling, kw_only=True, frozen=True, tag="generate"):
    """Continue a raw prompt; special tokens written in it are honoured."""

    prompt: Annotated[str, Meta(min_length=1)]


class Chat(Sampling, kw_only=True, frozen=True, tag="chat"):
    """Answer a conversation through the model's own chat template.

    ``thinking`` is the template's switch, or a budget; left out, the template's own default holds.
    A model without the capability ``thinking`` refuses it. The text of control tokens in a message
    stays text, unless ``special_tokens`` says otherwise. ``tools`` are the functions that the model
    may call; ``tool_choice`` left out is `auto`, and ``parallel_tool_calls`` left out is true.
    """

    messages: Conversation
    thinking: bool | ThinkingBudget | UnsetType = UNSET
    special_tokens: bool = False
    tools: ToolList = []
    tool_choice: ToolChoice | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET

    enables_thinking: ClassVar[bool] = False
    """True if the template gets `enable_thinking` as true; only dialect 0's `chat` sets it."""

    separates_channels: ClassVar[bool] = True
    """True if thoughts do not stand in the text; only in dialect 0's `chat` they do."""


class Batch(Sampling, kw_only=True, frozen=True, tag="batch"):
    """Continue many raw prompts in one request; each prompt has its own end and `item`."""

    prompts: Prompts
    stream: bool = False


class Classify(Drawing, kw_only=True, frozen=True, tag="classify"):
    """Return the next token of each prompt or conversation; on request also logits or label scores.

    Either ``prompts`` or ``messages`` is given. A conversation's next token begins the assistant's
    answer. ``separator`` is text between each prompt and what follows it.
    """

    prompts: Prompts | None = None
    messages: Conversations | None = None
    separator: Annotated[str, Meta(max_length=4096)] = ""
    logits: bool = False
    labels: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=4096)]],
            Meta(min_length=1, max_length=1024),
        ]
        | None
    ) = None


class Tokenize(Command, kw_only=True, frozen=True, tag="tokenize"):
    """Return the tokens of a ``text``, as in `generate`, or of ``messages``, as in `chat`.

    ``special_tokens`` left out is true for a text and false for messages, as in those commands.
    ``thinking`` and ``tools`` need ``messages``. With ``count_only`` the result has only the count.
    """

    text: str | None = None
    messages: Conversation | None = None
    tools: ToolList = []
    thinking: bool | UnsetType = UNSET
    special_tokens: bool | UnsetType = UNSET
    count_only: bool = False


class Detokenize(Command, kw_only=True, frozen=True, tag="detokenize"):
    """Return the text of token ids, control tokens included."""

    ids: Annotated[list[TokenId], Meta(max_length=1 << 24)]


class Inspect(Command, kw_only=True, frozen=True, tag="inspect"):
    """Write the queries and keys of the attention over a prompt to ``path``.

    ``layers`` are numbers of layers with attention, counted from 0; None means all.
    """

    prompt: Annotated[str, Meta(min_length=1)]
    path: Path
    layers: Annotated[list[Count], Meta(min_length=1, max_length=4096)] | None = None


class Cancel(Command, kw_only=True, frozen=True, tag="cancel"):
    """Cancel the request ``target``, or all requests in flight if ``target`` is left out."""

    target: Id | None = None


class Credit(Command, kw_only=True, frozen=True, tag="credit"):
    """Allow ``n`` more messages of a request that has a ``window``."""

    target: Id
    n: Positive


class Cache(Command, kw_only=True, frozen=True, tag="cache"):
    """Do an action on the prompt cache, if one is given, and describe the cache.

    ``warm`` needs a ``prompt`` or ``messages``, the latter perhaps with ``tools``; ``save`` and
    ``load`` need a ``path``. ``adapter`` is that of the requests to warm for.
    """

    action: Literal["stats", "clear", "warm", "save", "load"] = "stats"
    prompt: Annotated[str, Meta(min_length=1)] | None = None
    messages: Conversation | None = None
    tools: ToolList = []
    adapter: AdapterName | None = None
    path: Path | None = None


class Adapter(Command, kw_only=True, frozen=True, tag="adapter"):
    """Load or unload an adapter of the loaded model, and list its adapters.

    ``load`` needs a ``name`` and the ``path`` of a folder, ``unload`` a ``name``. A ``name`` in use is
    given to the new adapter; requests in flight go on with the old one.
    """

    action: Literal["load", "unload", "list"] = "list"
    name: AdapterName | None = None
    path: Path | None = None


class Memory(Command, kw_only=True, frozen=True, tag="memory"):
    """Set the memory limits that are given, and describe the memory in use; all in bytes.

    ``clear`` frees the buffers that MLX keeps for reuse.
    """

    memory_limit: Count | None = None
    prompt_cache_limit: Count | None = None
    buffer_limit: Count | None = None
    wired_limit: Count | None = None
    clear: bool = False


class Metrics(Command, kw_only=True, frozen=True, tag="metrics"):
    """Return sums over all requests since the worker's start, and its present state."""


class Quit(Command, kw_only=True, frozen=True, tag="quit"):
    """Cancel all requests, send their final replies, answer, and exit with code 0."""
