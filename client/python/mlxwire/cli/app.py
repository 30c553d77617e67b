"""The commands of `mlxwire`: their arguments, and the functions that they run."""

from __future__ import annotations

import asyncio
from typing import Annotated, cast

import msgspec
import typer

from ..model import Model
from ..options import ChatOptions, OnProgress
from ..token_stream import TokenStream
from ..version import __version__
from .answer import answer_once
from .arguments import (
    CHAT_MAX_TOKENS,
    NO_TEXT,
    AllowHub,
    AsTurn,
    CountOnly,
    EngineOption,
    IdsOnly,
    Json,
    JsonResult,
    Launch,
    Message,
    Prompt,
    Sampling,
    Start,
    System,
    Text,
    Thoughts,
    UseTemplate,
    read_any_text,
    read_message,
)
from .doctor import examine
from .exits import EPILOG, FAILED, NOT_STARTED, exit_codes, say_error
from .flatten import flattened
from .folders import adapter
from .folders.commands import commands as folder_commands
from .memory_check import Wishes
from .model_facts import load_facts, readable
from .session import run_session
from .terminal import print_json, print_table, say, write_text
from .tokens import in_lines, load_tokens
from .training import evaluate as evaluation
from .training.options import Data, Learning, Lines, Out, Reading
from .training.train import train_once

app = typer.Typer(
    help="Run a language model in a child process: results on stdout, all else on stderr.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    # Plain help and usage errors need no import of rich.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(folder_commands)
app.add_typer(adapter.commands, name="adapter")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlxwire {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    _: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options before the command; typer reads them from this signature."""


@app.command()
@flattened
def generate(
    launch: Launch,
    sampling: Sampling,
    thoughts: Thoughts,
    prompt: Prompt = None,
    chat: UseTemplate = False,
    json: Json = False,
) -> None:
    """Continue a prompt, streaming. The output ends with a newline.

    With --chat thoughts are shown on stderr, dimmed on a terminal.
    """
    text = read_message(prompt, "PROMPT")
    if text is None:
        raise typer.BadParameter(NO_TEXT, param_hint="PROMPT")
    options, thinking = sampling.options(), thoughts.options()
    if thinking and not chat:
        raise typer.BadParameter(
            "a raw prompt has no switch for thoughts; give --chat too", param_hint="--thinking"
        )

    def ask(model: Model, bar: OnProgress) -> TokenStream:
        if chat:
            chosen = cast(ChatOptions, {**options, **thinking})
            return model.chat(text, on_progress=bar, **chosen)
        return model.generate(text, on_progress=bar, **options)

    with exit_codes(json=json, verbose=launch.verbose):
        asyncio.run(answer_once(launch, ask, json=json, thoughts=not thoughts.hide_thinking))


@app.command()
@flattened
def chat(
    launch: Launch,
    sampling: Sampling,
    thoughts: Thoughts,
    message: Message = None,
    system: System = None,
    json: Json = False,
) -> None:
    """Answer a message, or hold a session.

    In a session Ctrl-C cancels the answer; pressed twice at the prompt, it ends the session.
    Thoughts are shown on stderr, dimmed on a terminal.
    """
    given = {**sampling.options(), **thoughts.options()}
    options = cast(ChatOptions, {"max_tokens": CHAT_MAX_TOKENS, **given})
    shown = not thoughts.hide_thinking
    opening = [{"role": "system", "content": system}] if system else []
    text = read_message(message, "MESSAGE")
    if text is None:
        with exit_codes(json=json, verbose=launch.verbose):
            run_session(launch, opening, options, json=json, thoughts=shown)
        return
    turns = [*opening, {"role": "user", "content": text}]
    with exit_codes(json=json, verbose=launch.verbose):
        if not launch.quiet:
            say(f"> {text}", "bold")
        asyncio.run(
            answer_once(
                launch,
                lambda model, bar: model.chat(turns, on_progress=bar, **options),
                json=json,
                thoughts=shown,
            )
        )


@app.command()
@flattened
def tokens(
    launch: Launch,
    text: Text = None,
    chat: AsTurn = False,
    count: CountOnly = False,
    ids: IdsOnly = False,
    json: JsonResult = False,
) -> None:
    """Show the tokens of a raw prompt, or with --chat of a turn of the user.

    Each line has the id of one token, and its text in quotes.
    """
    if count + ids + json > 1:
        raise typer.BadParameter("give only one of them", param_hint="--count, --ids, --json")
    prompt = read_any_text(text, "TEXT")
    with exit_codes(json=json, verbose=launch.verbose):
        found = asyncio.run(load_tokens(launch, prompt, chat=chat, count_only=count))
        if json:
            print_json(msgspec.to_builtins(found))
        elif count:
            write_text(f"{found.count}\n")
        elif ids:
            write_text(" ".join(map(str, found.ids or [])) + "\n")
        else:
            write_text(in_lines(found))


@app.command()
@flattened
def train(
    start: Start,
    data: Data,
    out: Out,
    reading: Reading,
    learning: Learning,
    json: Lines = False,
) -> None:
    """Train an adapter of a model on DATA, and write it to --out, with a plot of the loss.

    Ctrl-C ends the step, saves a checkpoint, and says how to go on.
    """
    with exit_codes(json=json, verbose=start.verbose):
        asyncio.run(train_once(start, data, out, reading, learning, json=json))


@app.command()
@flattened
def evaluate(launch: Launch, data: Data, reading: Reading, json: JsonResult = False) -> None:
    """Show the loss and the perplexity of a model on DATA, with --adapter or without."""
    with exit_codes(json=json, verbose=launch.verbose):
        result = asyncio.run(evaluation.evaluate_once(launch, data, reading))
        if json:
            print_json(msgspec.to_builtins(result))
        else:
            print_table(evaluation.facts(result))


@app.command()
@flattened
def info(launch: Launch, json: JsonResult = False) -> None:
    """Load a model and describe it."""
    with exit_codes(json=json, verbose=launch.verbose):
        facts = asyncio.run(load_facts(launch))
        if json:
            print_json(facts)
        else:
            print_table(readable(facts))


@app.command()
@flattened
def doctor(
    wishes: Wishes,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A model folder, or a name in the hub's local cache, whose memory is predicted.",
        ),
    ] = None,
    engine: EngineOption = None,
    allow_hub: AllowHub = False,
    json: JsonResult = False,
) -> None:
    """Check what is installed and whether it works, and with MODEL whether that fits into memory.

    Shows packages, the device that MLX sees, a worker's time to hello, and its median round trip.
    With MODEL: the memory that it needs in each dtype, what there is, and what to change.
    """
    with exit_codes(json=json):
        health = asyncio.run(examine(engine, model, wishes, allow_hub=allow_hub))
        if json:
            print_json(health.as_object())
        else:
            print_table(health.as_rows())
        for problem in health.problems:
            say_error(problem)
        if health.problems:
            raise typer.Exit(FAILED if health.runs else NOT_STARTED)
