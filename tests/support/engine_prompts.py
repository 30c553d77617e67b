"""Requests as the worker's operations give them to an engine, for tests that drive one by hand."""

from __future__ import annotations

from mlxwire_protocol.messages import Batch, Chat, Classify, Generate
from mlxwire_worker.engine import ClassifyPrompts, Engine, Prompt
from mlxwire_worker.operations.chat import chat_input
from mlxwire_worker.operations.classify import classify_input, drawing_params
from mlxwire_worker.operations.generation.sequence import sampling_params


def prompt_of(engine: Engine, request: Generate | Chat | Batch, index: int = 0) -> Prompt:
    """Check the options and make one prompt ready. Raises: WireError."""
    params = sampling_params(request)
    engine.check_params(params)
    if isinstance(request, Chat):
        chat = chat_input(request.messages, request.thinking, request.special_tokens)
        return engine.chat_prompt(chat, params)
    if isinstance(request, Generate):
        return engine.text_prompt(request.prompt, params, field="prompt")
    return engine.text_prompt(request.prompts[index], params, field=f"prompts[{index}]")


def classify_prompts_of(engine: Engine, request: Classify) -> ClassifyPrompts:
    """Make the prompts and labels of a `classify` ready. Raises: WireError."""
    return engine.classify_prompts(classify_input(request), drawing_params(request))
