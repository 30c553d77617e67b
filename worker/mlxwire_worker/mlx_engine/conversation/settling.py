"""Settles at a load what the model's chat templates know, and which tokens end a turn."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec import structs

from ...prompts import ChatInput
from ..constraints.making import Constraints
from ..text.template_process import RenderTime, TemplateProcess
from ..text.thinking import find_switch
from .encoding import template_variables
from .probing import probe
from .turn_ends import harmony_ends, turn_ends

if TYPE_CHECKING:
    from ..loading import LoadedModel

PROBE_SECONDS = 20.0
"""The most time for all renders of a load: hundreds of times what a sound template takes."""


def settle_template(loaded: LoadedModel, templates: TemplateProcess) -> None:
    """Compile the chat templates, find out what they know, and note it in ``info``.

    All renders share a time, and a warning tells if it did not suffice.
    Raises: WireError ``model_load_failed`` or ``unavailable``.
    """
    if loaded.templates is None:
        return
    for template in dict.fromkeys(loaded.templates):
        templates.check(template)
    variables = template_variables(ChatInput(messages=[]), loaded.tokenizer.special_tokens)
    time = RenderTime(PROBE_SECONDS)
    render = partial(templates.render, time=time)
    loaded.switch = find_switch(loaded.templates.default, variables, render)
    loaded.renders = probe(loaded.templates, variables, render)
    _settle_ends(loaded)
    if time.spent:
        loaded.warnings.append(
            "the chat template took too long to render short conversations and was stopped, so it is "
            "not known what it can do: `thinking`, `tools` and the end of a turn may be missing, and "
            "`chat` may fail; correct chat_template.jinja (or `chat_template` in "
            "tokenizer_config.json)"
        )
        templates.start()  # so that the first chat need not wait for it
    told = {
        **loaded.info.capabilities,
        "thinking": loaded.switch is not None,
        **loaded.answer_form.capabilities(tools=loaded.renders.tools is not None),
    }
    loaded.info = structs.replace(loaded.info, capabilities=told)


def _settle_ends(loaded: LoadedModel) -> None:
    """Add the tokens that end a turn to those that end a text."""
    form, renders = loaded.answer_form, loaded.renders
    if form.harmony:
        found = harmony_ends(loaded.tokenizer)
    else:
        # The marks of a parser of mlx-lm are not all known, so its calls tell nothing.
        behind_call = renders.behind_call if form.family and form.family.marks_known else ""
        within = [*(form.marks or ()), *(form.family.openings if form.family else ())]
        behind = (renders.behind_text, behind_call)
        found = turn_ends(behind, loaded.tokenizer, within)
    size = loaded.info.vocab_size
    ends = loaded.eos_ids | {number for number in found if number < size}
    if ends != loaded.eos_ids:
        loaded.eos_ids = ends
        loaded.constraints = Constraints(loaded.tokenizer, size, ends)
