"""Build a model from a checked folder, and bring its weights into memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm import utils as mlx_lm_utils
from msgspec import structs

from mlxwire_protocol.results import ModelInfo

from ..engine import LoadOptions, ProgressReport
from ..process.kernel_folder import with_whole_kernels
from .abilities import find_abilities
from .cache.cache_files import fingerprint
from .cache.memory_guard import MemoryGuard
from .cache.policy import CachePolicy
from .cache.prompt_cache import DEFAULT_BUDGET, PromptCache
from .constraints.making import Constraints
from .mlx_patches.blas import in_use
from .mlx_patches.direct_children import hold_children_directly
from .mlx_patches.exponentials import vectorize
from .mlx_patches.rotary import share_tables
from .mlx_patches.weight_layout import transpose_weights
from .models.adapters import check_adapter
from .models.assembly import Assembled, assemble, parameters, weight_bytes
from .models.context_length import first_number
from .models.end_of_text import end_ids
from .models.model_files import text_settings
from .models.module_tree import private_arrays
from .models.preflight import CheckedModel, check_model
from .models.soundness import check_logits
from .sequences.prefill import ChunkSize
from .sequences.runner import Runner
from .sequences.thread_choice import choose_threads
from .sequences.warmup import warm_up
from .text.chat_template import find_template
from .text.thinking import ThinkingSwitch, knows_thoughts
from .text.tokenizer import Tokenizer


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A loaded model, the objects that serve its requests, and its description (`info`)."""

    model: Any
    tokenizer: Tokenizer
    template: str | None
    switch: ThinkingSwitch | None
    eos_ids: frozenset[int]
    constraints: Constraints
    context_policy: str
    policy: CachePolicy
    cache: PromptCache
    guard: MemoryGuard
    chunk: ChunkSize
    runner: Runner
    files: list[Path]
    info: ModelInfo
    warnings: list[str]

    def identity(self) -> str:
        """Return the fingerprint that a saved prompt cache must have to fit this model."""
        return fingerprint(
            self.files, self.policy.fingerprint, self.info.compute_dtype, self.template
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
    template = find_template(path)
    context_policy = "rotate" if policy.rotates else "refuse"
    info = _describe(
        assembled,
        path=str(path),
        adapter_path=str(adapter) if adapter else None,
        context_len=assembled.context.tokens,
        parallel_slots=1,
        chat_template=template is not None,
        capabilities={
            "chat": template is not None,
            "classify": True,
            "thinking": False,  # `settle_template` finds out
            "thoughts": knows_thoughts(template or "", tokenizer.added_tokens),
            "kv_bits": options.kv_bits or 0,
            "context_policy": context_policy,
        },
    )
    cache = PromptCache(policy, _prompt_cache_limit(options))
    chunk = ChunkSize(options.prefill_seconds)
    runner = Runner(model, policy, cache, chunk, assembled.guard)
    eos_ids = _eos_ids(checked, tokenizer, info.vocab_size)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        template=template,
        switch=None,
        eos_ids=eos_ids,
        constraints=Constraints(tokenizer, info.vocab_size, eos_ids),
        context_policy=context_policy,
        policy=policy,
        cache=cache,
        guard=assembled.guard,
        chunk=chunk,
        runner=runner,
        files=[*checked.shards, *_adapter_files(adapter), path / "config.json"],
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


def _adapter_files(adapter: Path | None) -> list[Path]:
    names = ("adapters.safetensors", "adapter_config.json")  # the latter has the scale
    return [adapter / name for name in names] if adapter is not None else []


def finish(loaded: LoadedModel, options: LoadOptions, report: ProgressReport) -> None:
    """Read the weights of a built model, make its modules fast, check it, and warm it up.

    Raises: WireError ``model_load_failed`` for damaged weights, ``unsupported_model`` if the model
    does not answer rightly even alone.
    """
    started = time.perf_counter()
    model = loaded.model
    materialize(model, report)
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


def materialize(model: Any, report: ProgressReport) -> None:
    """Read the weights, reporting bytes as they come, and evaluate every other array too.

    Arrays that are no parameters (the frequencies of scaled RoPE) stay lazy in mlx-lm and can
    then be evaluated by this thread alone (engine-notes §1).
    """
    arrays = parameters(model)
    total = sum(array.nbytes for array in arrays)
    done = 0
    report("load", 0, total)
    for group in _groups(arrays, max(total // 20, 1 << 24)):
        mx.eval(group)
        done += sum(array.nbytes for array in group)
        report("load", done, total)
    mx.eval(list(private_arrays(model)))


def settle_threads(loaded: LoadedModel, *, measure: bool) -> None:
    """Choose the number of the BLAS's threads for a model, and note it in ``info``."""
    count = choose_threads(
        loaded.model, loaded.policy, loaded.info.weight_bytes, measure=measure
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
        hidden_size=first_number(text, "hidden_size", "n_embd", "d_model", "dim", "model_dim"),
        quant_bits=assembled.quant_bits,
        quant_group=assembled.quant_group,
        parameters=_parameter_count(model),
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


def _parameter_count(model: Any) -> int:
    return int(mlx_lm_utils.get_total_parameters(model))


def _groups(arrays: list[mx.array], size: int) -> Iterator[list[mx.array]]:
    group: list[mx.array] = []
    held = 0
    for array in arrays:
        group.append(array)
        held += array.nbytes
        if held >= size:
            yield group
            group, held = [], 0
    if group:
        yield group
