"""Build a model from a checked folder, and bring its weights into memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
from msgspec import structs

from mlxwire_protocol.results import ModelInfo

from ..engine import LoadOptions, ProgressReport
from ..process.kernel_folder import with_whole_kernels
from .abilities import find_abilities
from .adapters.applying import adapter_files, check_adapter
from .adapters.keys import are_keys_with
from .adapters.row_model import RowModel
from .adapters.slots import AdapterSlots
from .answers.arguments import KeptChecks
from .answers.form import AnswerForm, find_answer_form
from .cache.cache_files import fingerprint
from .cache.memory_guard import MemoryGuard
from .cache.policy import CachePolicy
from .cache.prompt_cache import DEFAULT_BUDGET, PromptCache
from .constraints.making import Constraints
from .conversation.probing import Renders
from .conversation.turn_forms import TurnForms
from .mlx_patches.blas import in_use
from .mlx_patches.direct_children import hold_children_directly
from .mlx_patches.exponentials import vectorize
from .mlx_patches.rotary import share_tables
from .mlx_patches.weight_layout import transpose_weights
from .models.assembly import Assembled, assemble, materialize, weight_bytes
from .models.context_length import hidden_size
from .models.end_of_text import end_ids
from .models.model_files import text_settings
from .models.preflight import CheckedModel, check_model
from .models.soundness import check_logits
from .one_pass.embedding.causal import NO_STATES, CausalPass, hidden_width
from .one_pass.embedding.embedder import Embedder
from .one_pass.embedding.pooling import Dense
from .one_pass.embedding.settings import read_settings
from .one_pass.embedding.slices import VectorTools
from .one_pass.reranker import Reranker, find_reranker
from .sequences.prefill import ChunkSize
from .sequences.runner import Runner
from .sequences.thread_choice import choose_threads, measure_step
from .sequences.warmup import warm_up
from .text.chat_template import Templates, find_templates
from .text.thinking import ThinkingSwitch
from .text.tokenizer import Tokenizer
from .vectors import IS_HEADLESS, NOT_OF_HEADLESS


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A loaded model, the objects that serve its requests, and its description (`info`)."""

    model: Any
    adapters: AdapterSlots
    tokenizer: Tokenizer
    templates: Templates | None
    renders: Renders
    switch: ThinkingSwitch | None
    answer_form: AnswerForm
    eos_ids: frozenset[int]
    constraints: Constraints
    argument_checks: KeptChecks
    context_policy: str
    policy: CachePolicy
    cache: PromptCache
    guard: MemoryGuard
    reranker: Reranker | None
    chunk: ChunkSize
    runner: Runner
    files: list[Path]
    embedder: Embedder
    tools: VectorTools
    headless: bool
    info: ModelInfo
    warnings: list[str]

    @property
    def missing(self) -> dict[str, str]:
        """Return the commands that the model can't do, each with the reason."""
        return dict.fromkeys(NOT_OF_HEADLESS, IS_HEADLESS) if self.headless else {}

    @property
    def row_model(self) -> RowModel:
        """Return the model with its adapters, for passes whose rows have one each."""
        return RowModel(self.model, self.adapters)

    def identity(self) -> str:
        """Return the fingerprint that a saved prompt cache must have to fit this model."""
        templates = dict.fromkeys(self.templates or (None,))
        return fingerprint(
            self.files, self.policy.fingerprint, self.info.compute_dtype, *templates
        )


def build(
    options: LoadOptions, path: Path, adapter: Path | None, report: ProgressReport
) -> LoadedModel:
    """Check a folder and build its model, with the weights still on disk.

    ``report`` may raise to end long work. Raises: WireError ``model_not_found``,
    ``unsupported_model``, ``model_load_failed``, or ``invalid_params`` for an option that this
    model can't honour.
    """
    checked = check_model(path)
    if adapter is not None:
        check_adapter(adapter)
    tokenizer = Tokenizer.from_folder(path)
    assembled = assemble(options, checked, adapter, lambda: report("check", 0, 1))
    model, policy = assembled.model, assembled.policy
    templates = find_templates(path)
    reranker = find_reranker(path, checked.config, templates, tokenizer)
    answer_form = find_answer_form(
        templates and templates.default, templates and templates.tool_use, tokenizer
    )
    context_policy = "rotate" if policy.rotates else "refuse"
    settings, width = read_settings(path, checked.config), hidden_width(model)
    embeds = bool(width) and not settings.problem
    info = _describe(
        assembled,
        path=str(path),
        adapter_path=str(adapter) if adapter else None,
        context_len=assembled.context.tokens,
        parallel_slots=1,
        chat_template=templates is not None,
        pooling=settings.pooling if embeds else None,
        capabilities={
            **(dict.fromkeys(NOT_OF_HEADLESS, False) if assembled.headless else {}),
            "chat": templates is not None and not assembled.headless,
            "classify": not assembled.headless,
            "embed": embeds,
            "score": not assembled.headless,
            "rerank": reranker is not None and not assembled.headless,
            "thinking": False,  # `settle_template` finds out
            **answer_form.capabilities(tools=False),  # `settle_template` finds out
            "kv_bits": options.kv_bits or 0,
            "context_policy": context_policy,
        },
    )
    cache = PromptCache(policy, _prompt_cache_limit(options))
    chunk = ChunkSize(options.prefill_seconds)
    adapters = AdapterSlots(model, lambda number: cache.forget(partial(are_keys_with, number)))
    runner = Runner(model, policy, cache, chunk, assembled.guard, adapters)
    eos_ids = _eos_ids(checked, tokenizer, info.vocab_size)
    return LoadedModel(
        model=model,
        adapters=adapters,
        tokenizer=tokenizer,
        templates=templates,
        renders=Renders(TurnForms(), None),
        switch=None,
        answer_form=answer_form,
        eos_ids=eos_ids,
        constraints=Constraints(tokenizer, info.vocab_size, eos_ids),
        argument_checks=KeptChecks(),
        context_policy=context_policy,
        policy=policy,
        cache=cache,
        guard=assembled.guard,
        reranker=reranker,
        chunk=chunk,
        runner=runner,
        embedder=Embedder(
            tokenizer=tokenizer,
            settings=settings,
            vocabulary=info.vocab_size,
            most_tokens=options.asked_context
            or min(info.context_len, settings.max_tokens or info.context_len),
            width=settings.width_of(width),
            ends_once=True,
            problem="" if width else NO_STATES,
        ),
        tools=VectorTools(
            CausalPass(model, adapters, chunk), tuple(map(Dense.read, settings.dense))
        ),
        headless=assembled.headless,
        files=[
            *checked.shards,
            *(adapter_files(adapter) if adapter else []),
            path / "config.json",
        ],
        info=info,
        warnings=[assembled.context.shortened] if assembled.context.shortened else [],
    )


def _prompt_cache_limit(options: LoadOptions) -> int:
    """Return the limit that the host set, by default 2 GiB or a quarter of `memory_limit`."""
    if options.prompt_cache_limit is not None:
        return options.prompt_cache_limit
    if options.memory_limit:
        return min(DEFAULT_BUDGET, options.memory_limit // 4)
    return DEFAULT_BUDGET


def finish(loaded: LoadedModel, options: LoadOptions, report: ProgressReport) -> None:
    """Read the weights of a built model, make its modules fast, check it, and warm it up.

    Raises: WireError ``model_load_failed`` for damaged weights, ``unsupported_model`` if the model
    does not answer rightly even alone.
    """
    started = time.perf_counter()
    model = loaded.model
    materialize(model, report)
    mx.eval([array for layer in loaded.tools.dense for array in layer.arrays])
    transpose_weights(model)
    vectorize(model)
    share_tables(model)
    hold_children_directly(model)
    elapsed = time.perf_counter() - started

    policy, info = loaded.policy, loaded.info
    with_whole_kernels(
        lambda: check_logits(model, policy.make(), info.vocab_size, info.model_type)
    )
    with_whole_kernels(lambda: find_abilities(loaded, options, elapsed=elapsed))
    if options.warmup:
        with_whole_kernels(lambda: warm_up(model, policy, info.vocab_size, report))
    settle_threads(loaded, measure=options.warmup)


def settle_threads(loaded: LoadedModel, *, measure: bool) -> None:
    """Choose the number of the BLAS's threads for a model, and note it in ``info``."""
    count = choose_threads(
        loaded.model,
        partial(measure_step, loaded.model, loaded.policy),
        loaded.info.weight_bytes,
        measure=measure,
    )
    loaded.info = structs.replace(loaded.info, blas_threads=count)


def _describe(assembled: Assembled, **told: Any) -> ModelInfo:
    """Describe the model by its modules, which may differ from config.json."""
    model, config = assembled.model, assembled.config
    blas = in_use()
    logits = model(mx.array([[0]]))  # lazy: shape and dtype alone are worked out
    text = {**config, **text_settings(config)}
    return ModelInfo(
        model_type=str(config["model_type"]),
        vocab_size=int(logits.shape[-1]),
        layers=len(getattr(model, "layers", [])),
        hidden_size=hidden_size(text),
        quant_bits=assembled.quant_bits,
        quant_group=assembled.quant_group,
        quant_mode=assembled.quant_mode,
        parameters=assembled.parameters,
        weight_bytes=weight_bytes(model),
        compute_dtype=str(logits.dtype).removeprefix("mlx.core."),
        blas=blas.name,
        blas_threads=blas.threads.count if blas.threads is not None else 0,
        **told,
    )


def _eos_ids(checked: CheckedModel, tokenizer: Tokenizer, vocabulary: int) -> frozenset[int]:
    own = tokenizer.special_tokens.get("eos_token")
    own_id = None if own is None else tokenizer.token_id(own)
    return end_ids(checked.config, checked.generation, own_id, vocabulary)
