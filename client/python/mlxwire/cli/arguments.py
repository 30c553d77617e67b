"""The arguments and options that commands share, with their help and their ranges (SPEC §4)."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Literal, cast

from typer import Argument, BadParameter, Option

from ..options import ChatOptions, ContextLength, GenerateOptions

CHAT_MAX_TOKENS = 1024
"""More than the worker's own 256, at which many chat answers would be cut off."""


class Engine(StrEnum):
    """The engines of the worker."""

    MLX = "mlx"
    MOCK = "mock"


Prompt = Annotated[
    str | None,
    Argument(
        metavar="PROMPT|-",
        help="The text to continue. A text that is piped in is put before it, with a blank line "
        "between; `-`, or no PROMPT, takes the piped text alone, less one newline at its end.",
    ),
]
Message = Annotated[
    str | None,
    Argument(
        metavar="MESSAGE|-",
        help="One message, answered once. A text that is piped in is put before it, with a blank "
        "line between; `-`, or no MESSAGE, takes the piped text alone. Without both: a session.",
    ),
]
Text = Annotated[
    str | None,
    Argument(
        metavar="TEXT|-",
        help="A raw prompt; `-`, or no TEXT in a pipe, reads it from stdin, less one newline at "
        "its end.",
    ),
]
System = Annotated[str | None, Option(metavar="TEXT", help="A system message to begin with.")]
UseTemplate = Annotated[
    bool,
    Option("--chat/--raw", help="Send PROMPT through the model's chat template, or as it is."),
]
AsTurn = Annotated[
    bool,
    Option("--chat", help="Take TEXT as a turn of the user, in the model's chat template."),
]
CountOnly = Annotated[bool, Option("--count", help="The number of tokens alone.")]
IdsOnly = Annotated[bool, Option("--ids", help="The ids alone, on one line.")]
EngineOption = Annotated[
    Engine | None, Option(help="`mock` echoes the prompt and needs no MLX: for tests.")
]
AllowHub = Annotated[
    bool, Option("--allow-hub", help="Fetch a MODEL that the local cache lacks from the hub.")
]
Json = Annotated[
    bool,
    Option(
        "--json",
        help="One JSON object on one line in place of the text: text, finish_reason, "
        "tokens_generated and metrics, or error.",
    ),
]
JsonResult = Annotated[bool, Option("--json", help="One JSON object on one line.")]

Verbose = Annotated[
    bool, Option("--verbose", "-v", help="Show what the worker logs, on stderr.")
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No progress and no figures on stderr.")]


def read_context(text: str | None) -> ContextLength | None:
    """Return the length of a context as it was typed. Raises: BadParameter."""
    if text is None or text == "auto":
        return cast(Literal["auto"] | None, text)
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise BadParameter(f"{text!r} is neither a number of tokens from 1 on nor `auto`")


def _check_context(text: str | None) -> str | None:
    read_context(text)
    return text


ContextOption = Annotated[
    str | None,
    Option(
        metavar="N|auto",
        callback=_check_context,
        help="Tokens of prompt and answer together; `auto`: the most that fit into memory.",
    ),
]


KvBits = Annotated[
    int | None, Option(metavar="2|3|4|6|8", help="Keys and values in so many bits.")
]
KvGroupSize = Annotated[
    int | None,
    Option(
        metavar="32|64|128",
        help="Numbers that share a scale, with --kv-bits; 64 if left out.",
    ),
]
ModelFolder = Annotated[
    str,
    Argument(
        metavar="MODEL",
        help="A model folder, or the name ORG/NAME of a model in the hub's local cache.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Options of the worker and the folder of its model, and of the output on stderr."""

    path: ModelFolder
    engine: EngineOption = None
    allow_hub: AllowHub = False
    quiet: Quiet = False
    verbose: Verbose = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch(Start):
    """Options of the worker and of its model, and of the output on stderr."""

    context_len: ContextOption = None
    kv_bits: KvBits = None
    kv_group_size: KvGroupSize = None
    compute_dtype: Annotated[
        str | None,
        Option(
            metavar="DTYPE",
            help="float32, bfloat16, float16 or stored; the worker's choice if left out.",
        ),
    ] = None
    adapter: Annotated[str | None, Option(metavar="DIR", help="An adapter's folder.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The options that choose tokens and end the text."""

    max_tokens: Annotated[
        int | None, Option(min=0, help=f"Tokens at most: 256, in a chat {CHAT_MAX_TOKENS}.")
    ] = None
    temperature: Annotated[
        float | None, Option(min=0, max=100, help="0, the default, is greedy.")
    ] = None
    top_p: Annotated[float | None, Option(min=0, max=1, help="0 and 1 are off.")] = None
    top_k: Annotated[int | None, Option(min=0, help="0 is off.")] = None
    min_p: Annotated[float | None, Option(min=0, max=1, help="0 is off.")] = None
    repeat_penalty: Annotated[
        float | None, Option(min=0, max=1000, help="0 and 1 are off.")
    ] = None
    presence_penalty: Annotated[
        float | None, Option(min=-100, max=100, help="For tokens that occurred. 0 is off.")
    ] = None
    frequency_penalty: Annotated[
        float | None, Option(min=-100, max=100, help="For each time they did. 0 is off.")
    ] = None
    seed: Annotated[int | None, Option(min=0, help="The same seed, the same tokens.")] = None
    stop: Annotated[
        list[str] | None, Option(metavar="TEXT", help="End before this text. Repeatable.")
    ] = None
    ignore_eos: Annotated[
        bool | None, Option("--ignore-eos", help="Go on past the model's end of text.")
    ] = None
    min_tokens: Annotated[
        int | None, Option(min=0, help="No end of text before that many.")
    ] = None
    logprobs: Annotated[
        bool | None,
        Option(
            "--logprobs",
            help="After the text a line for each token: log-probability, id and text. With --json: "
            "`tokens`.",
        ),
    ] = None

    def options(self) -> GenerateOptions:
        """Return the options that were given; the worker's defaults hold for the others."""
        given = {name: value for name, value in asdict(self).items() if value not in (None, [])}
        return cast(GenerateOptions, given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thoughts:
    """The options of a chat about the model's thoughts."""

    thinking: Annotated[
        bool | None, Option(help="The chat template's switch. [default: the template's own]")
    ] = None
    thinking_budget: Annotated[
        int | None,
        Option(min=0, metavar="N", help="Limit a thought to N tokens; 0 turns thoughts off."),
    ] = None
    hide_thinking: Annotated[
        bool,
        Option("--hide-thinking", help="Leave thoughts out of stderr, and of --json."),
    ] = False

    def options(self) -> ChatOptions:
        """Return the options that were given. Raises: BadParameter for a budget and no thought."""
        if self.thinking_budget is None:
            return {} if self.thinking is None else {"thinking": self.thinking}
        if self.thinking is False:
            raise BadParameter(
                "it has no use beside --no-thinking; leave one of them out",
                param_hint="--thinking-budget",
            )
        return {"thinking": {"budget": self.thinking_budget}}


NO_TEXT = "there is no text; give one, or pipe one in"


def read_text(argument: str, name: str) -> str:
    """Return the argument, or for `-` the text of stdin.

    Raises: BadParameter if the text is empty.
    """
    text = read_any_text(argument, name)
    if not text:
        raise BadParameter("the text is empty; give at least one character", param_hint=name)
    return text


def read_message(argument: str | None, name: str) -> str | None:
    """Return the piped text, a blank line and the argument; None without both, at a terminal.

    Raises: BadParameter if the text is empty.
    """
    if argument is None and sys.stdin.isatty():
        return None
    if argument is None or argument == "-":
        return read_text("-", name)
    return "\n\n".join(filter(None, [_piped_text(), read_text(argument, name)]))


def _piped_text() -> str:
    """Return the text of stdin if that is a pipe or a file; empty for a terminal or a device."""
    try:
        device = stat.S_ISCHR(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError):  # stdin has no descriptor, as in a test
        device = False
    return "" if device else read_any_text("-", "stdin")


def read_any_text(argument: str | None, name: str) -> str:
    """Return the argument, or for `-` or None the text of stdin; each may be empty.

    Raises: BadParameter for None if stdin is a terminal.
    """
    if argument is None and sys.stdin.isatty():
        raise BadParameter(NO_TEXT, param_hint=name)
    if argument is not None and argument != "-":
        return argument
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").removesuffix("\r")
