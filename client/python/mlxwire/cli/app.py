"""The commands of `mlxwire`: their arguments, and the functions that they run."""

from __future__ import annotations

import asyncio
from typing import Annotated, cast

import msgspec
import typer

from ..model import Model
from ..options import ChatOptions, OnProgress
from ..stream import TokenStream
from ..version import __version__
from .answer import answer_once
from .arguments import (
    CHAT_MAX_TOKENS,
    NO_TEXT,
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
    System,
    Text,
    Thinking,
    UseTemplate,
    read_any_text,
    read_message,
)
from .doctor import examine
from .exits import EPILOG, NOT_STARTED, exit_codes, say_error
from .flatten import flattened
from .model_facts import load_facts, readable
from .session import run_session
from .terminal import print_json, print_table, say, write_text
from .tokens import in_lines, load_tokens

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
    prompt: Prompt = None,
    chat: UseTemplate = False,
    json: Json = False,
) -> None:
    """Continue a prompt, streaming. The output ends with a newline."""
    text = read_message(prompt, "PROMPT")
    if text is None:
        raise typer.BadParameter(NO_TEXT, param_hint="PROMPT")
    options = sampling.options()

    def ask(model: Model, bar: OnProgress) -> TokenStream:
        if chat:
            return model.chat(text, on_progress=bar, **options)
        return model.generate(text, on_progress=bar, **options)

    with exit_codes(json=json, verbose=launch.verbose):
        asyncio.run(answer_once(launch, ask, json=json))


@app.command()
@flattened
def chat(
    launch: Launch,
    sampling: Sampling,
    message: Message = None,
    system: System = None,
    thinking: Thinking = None,
    json: Json = False,
) -> None:
    """Answer a message, or hold a session.

    In a session Ctrl-C cancels the answer; pressed twice at the prompt, it ends the session.
    """
    options = cast(ChatOptions, {"max_tokens": CHAT_MAX_TOKENS, **sampling.options()})
    if thinking is not None:
        options["thinking"] = thinking
    opening = [{"role": "system", "content": system}] if system else []
    text = read_message(message, "MESSAGE")
    if text is None:
        with exit_codes(json=json, verbose=launch.verbose):
            run_session(launch, opening, options, json=json)
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
def doctor(engine: EngineOption = None, json: JsonResult = False) -> None:
    """Check what is installed and whether it works.

    Shows packages, the device that MLX sees, a worker's time to hello, and its median round trip.
    """
    with exit_codes(json=json):
        health = asyncio.run(examine(engine))
        if json:
            print_json(health.as_object())
        else:
            print_table(health.as_rows())
        for problem in health.problems:
            say_error(problem)
        if health.problems:
            raise typer.Exit(NOT_STARTED)
