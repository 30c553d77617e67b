"""Families of models as a vocabulary has them, and the constraint of a call that must come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mlxwire_worker.mlx_engine.answers.form import AnswerForm, grammar_mark
from mlxwire_worker.mlx_engine.constraints.call_grammars import compile_calls
from mlxwire_worker.mlx_engine.constraints.constraint import GrammarConstraint
from mlxwire_worker.mlx_engine.constraints.vocabulary import Vocabulary
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from mlxwire_worker.output.pieces import CallArguments, CallBegan, CallEnded, Thought
from mlxwire_worker.output.tool_calls.deepseek import DeepSeek
from mlxwire_worker.output.tool_calls.dsml import Dsml
from mlxwire_worker.output.tool_calls.family import Family, Tool, Tools
from mlxwire_worker.output.tool_calls.gemma import Gemma
from mlxwire_worker.output.tool_calls.glm import Glm
from mlxwire_worker.output.tool_calls.hermes import Hermes
from mlxwire_worker.output.tool_calls.kimi import Kimi
from mlxwire_worker.output.tool_calls.llama3 import Llama3
from mlxwire_worker.output.tool_calls.minimax import MiniMax
from mlxwire_worker.output.tool_calls.mistral import Mistral
from mlxwire_worker.output.tool_calls.qwen3_coder import Qwen3Coder


class Form(NamedTuple):
    """A family, None for gpt-oss, and the marks of its calls."""

    family: Family | None
    marks: tuple[str, ...]


FORMS = {
    "hermes": Form(Hermes(), ("<tool_call>", "</tool_call>")),
    "qwen3-coder": Form(Qwen3Coder(), ("<tool_call>", "</tool_call>")),
    "qwen3-coder, no tokens": Form(Qwen3Coder(), ()),
    "llama3": Form(Llama3(), ("<|python_tag|>",)),
    "mistral": Form(Mistral(), ("[TOOL_CALLS]",)),
    "mistral, name": Form(Mistral("name"), ("[TOOL_CALLS]", "[ARGS]")),
    "gemma": Form(Gemma("function"), ("<start_function_call>", "<end_function_call>", "<escape>")),
    "gemma4": Form(Gemma("4"), ("<|tool_call>", "<tool_call|>", '<|"|>')),
    "deepseek": Form(
        DeepSeek(),
        ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
         "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"),
    ),
    "dsml": Form(Dsml(), ("｜DSML｜",)),
    "glm": Form(
        Glm(),
        ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    ),
    "kimi": Form(
        Kimi(),
        ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>",
         "<|tool_call_end|>", "<|tool_call_argument_begin|>"),
    ),
    "minimax": Form(MiniMax(), ("<minimax:tool_call>", "</minimax:tool_call>")),
    "gpt-oss": Form(
        None, ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>")
    ),
}  # fmt: skip


class Setting:
    """One family with a vocabulary, whose marks are tokens if the vocabulary has them."""

    def __init__(self, name: str, tokenizer: Tokenizer, size: int, ends: Iterable[int]) -> None:
        family = FORMS[name].family
        self.tokenizer = tokenizer
        self.ends = frozenset(ends)
        self.vocabulary = Vocabulary(tokenizer, size, self.ends)
        mark = grammar_mark(tokenizer)
        self.form = AnswerForm(None, None, family is None, family, mark)

    def constraint(self, tool: Tool) -> GrammarConstraint:
        """Return the constraint of an answer that calls a tool without a thought. Raises: WireError."""

        def write(tools: Tools) -> str:
            return self.form.calls_grammar(tools, parallel=False).replace("thinking?", "")

        matcher = compile_calls(
            Tools([tool]),
            write,
            self.vocabulary,
            {tool.name: "tools[0].function.parameters"},
        )
        return GrammarConstraint(
            matcher, self.vocabulary, self.ends, None, formed=False, numbers=True
        )

    def arguments_in(self, tool: Tool, answer: str) -> str:
        """Return the arguments of the one call in an answer that has no other text."""
        channels = self.form.channels(Tools([tool]), in_thought=False, formed=False)
        assert channels is not None
        pieces = [*channels.add(answer), *channels.finish()]
        calls = [p for p in pieces if not isinstance(p, CallArguments | Thought)]
        assert [type(call) for call in calls] == [CallBegan, CallEnded], (answer, pieces)
        return "".join(piece.text for piece in pieces if isinstance(piece, CallArguments))
