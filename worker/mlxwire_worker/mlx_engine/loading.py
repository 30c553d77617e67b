"""Build a model from a checked folder, and bring its weights into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm import utils as mlx_lm_utils
from mlx_lm.models.cache import make_prompt_cache
from msgspec import structs

from mlxwire_protocol import invalid_params
from mlxwire_protocol.results import ModelInfo

from ..engine import LoadOptions, ProgressReport
from .cache.cache_files import fingerprint
from .cache.kv import CachePolicy
from .cache.memory_guard import MemoryGuard
from .cache.prompt_cache import DEFAULT_BUDGET, PromptCache
from .mlx_patches.blas import in_use, most_threads
from .models import compute_dtype
from .models.adapters import apply_adapter, check_adapter
from .models.model_files import failed
from .models.preflight import CheckedModel, check_model
from .sequences.prefill import ChunkSize
from .sequences.runner import Runner
from .sequences.warmup import largest_matrix, measure_product, measure_step
from .text.chat_template import find_template
from .text.tokenizer import Tokenizer

PARALLEL_SLOTS = 128
"""Sequences at once, where the host names no number."""

LARGE_BYTES = 128 << 20
"""Weights from which several BLAS threads help, where nothing was measured."""
HUGE_BYTES = 1 << 30
"""Weights from which no step is measured, since one takes long; a product tells enough."""

DEFAULT_CONTEXT = 131072
"""Tokens, for a model that declares no number of positions."""


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A loaded model, the objects that serve its requests, and its description (`info`)."""

    model: Any
    tokenizer: Tokenizer
    template: str | None
    eos_ids: frozenset[int]
    context_policy: str
    policy: CachePolicy
    cache: PromptCache
    guard: MemoryGuard
    chunk: ChunkSize
    runner: Runner
    files: list[Path]
    info: ModelInfo

    def identity(self) -> str:
        """Return the fingerprint that a saved prompt cache must have to fit this model."""
        return fingerprint(
            self.files, self.policy.fingerprint, self.info.compute_dtype, self.template
        )


def build(options: LoadOptions, path: Path, adapter: Path | None) -> LoadedModel:
    """Check a folder and build its model, with the weights still on disk.

    Raises: WireError ``model_not_found``, ``unsupported_model``, ``model_load_failed``, or
    ``invalid_params`` for an option that this model can't honour.
    """
    checked = check_model(path)
    context_len = _context_len(options, checked.config)
    if adapter is not None:
        check_adapter(adapter)
    tokenizer = Tokenizer.from_folder(path)
    assembled = _assemble(options, checked, adapter, context_len)
    model, policy = assembled.model, assembled.policy
    template = find_template(path)
    info = _describe(
        assembled,
        path=str(path),
        adapter_path=str(adapter) if adapter else None,
        context_len=context_len,
        parallel_slots=(options.parallel_slots or PARALLEL_SLOTS) if policy.batchable else 1,
        chat_template=template is not None,
        capabilities={
            "chat": template is not None,
            "classify": True,
            "thinking": template is not None and "thinking" in template,
            "batchable": policy.batchable,
            "cache_trimmable": policy.trimmable,
            "kv_bits": options.kv_bits or 0,
            "context_policy": options.context_policy,
        },
    )
    cache = PromptCache(policy, _prompt_cache_limit(options))
    chunk = ChunkSize(options.prefill_seconds)
    runner = Runner(model, policy, cache, chunk, assembled.guard)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        template=template,
        eos_ids=_eos_ids(assembled.config, tokenizer, info.vocab_size),
        context_policy=options.context_policy,
        policy=policy,
        cache=cache,
        guard=assembled.guard,
        chunk=chunk,
        runner=runner,
        files=[*checked.shards, *_adapter_files(adapter), path / "config.json"],
        info=info,
    )


class _Assembled(NamedTuple):
    """A module tree in the dtype that it computes in, and what depends on that dtype.

    ``quant_bits`` and ``quant_group`` are those of the stored weights.
    """

    model: Any
    config: dict[str, Any]
    quant_bits: int
    quant_group: int
    policy: CachePolicy
    guard: MemoryGuard


def _assemble(
    options: LoadOptions, checked: CheckedModel, adapter: Path | None, context_len: int
) -> _Assembled:
    """Build the module tree in the wanted dtype, or as stored if that takes too much memory.

    No weight is read: shapes and dtypes are known. Raises: as `build`.
    """
    dtype = compute_dtype.wanted_dtype(options.compute_dtype)
    assembled = _assemble_in(dtype, options, checked, adapter, context_len)
    if dtype is not None and options.compute_dtype == "auto":
        tokens = min(context_len, compute_dtype.SEQUENCE_TOKENS)
        size = _weight_bytes(assembled.model) + assembled.guard.sequence_bytes(tokens)
        if not compute_dtype.fits(size, options.memory_limit):
            assembled = _assemble_in(None, options, checked, adapter, context_len)
    return assembled


def _assemble_in(
    dtype: mx.Dtype | None,
    options: LoadOptions,
    checked: CheckedModel,
    adapter: Path | None,
    context_len: int,
) -> _Assembled:
    model, config = _build_module(checked, adapter)
    widest = max(_quantized_modules(model), key=lambda module: module.weight.size, default=None)
    if dtype is not None:
        compute_dtype.convert(model, dtype)
    policy = CachePolicy(
        model,
        window=context_len if options.context_policy == "rotate" else None,
        kv_bits=options.kv_bits,
        kv_group_size=options.kv_group_size,
    )
    guard = MemoryGuard(model, policy, options.memory_limit)
    bits, group = (widest.bits, widest.group_size) if widest is not None else (0, 0)
    return _Assembled(model, config, bits, group, policy, guard)


def _prompt_cache_limit(options: LoadOptions) -> int:
    """Return the limit that the host set, by default 2 GiB or a quarter of `memory_limit`."""
    if options.prompt_cache_limit is not None:
        return options.prompt_cache_limit
    if options.memory_limit:
        return min(DEFAULT_BUDGET, options.memory_limit // 4)
    return DEFAULT_BUDGET


def _context_len(options: LoadOptions, config: dict[str, Any]) -> int:
    declared = declared_context(config)
    if options.context_len is not None and options.context_len > declared:
        raise invalid_params(
            "context_len",
            f"`context_len` is {options.context_len}, but the model has {declared} positions; "
            f"give at most {declared}, or leave `context_len` out",
            context_len=declared,
        )
    return options.context_len or declared


def _adapter_files(adapter: Path | None) -> list[Path]:
    names = ("adapters.safetensors", "adapter_config.json")  # the latter has the scale
    return [adapter / name for name in names] if adapter is not None else []


def _build_module(checked: CheckedModel, adapter: Path | None) -> tuple[Any, dict[str, Any]]:
    """Build the module tree: shapes are checked, and no weight is read."""
    try:
        model, config = mlx_lm_utils.load_model(checked.path, lazy=True, strict=True)
        caches = make_prompt_cache(model)
        if any(getattr(layer, "max_size", 1) < 1 for layer in caches):
            raise ValueError("a window of no tokens")
        for ids in ([0, 0], [0]):  # lazy: shapes and types alone are worked out
            model(mx.array([ids]), cache=caches)
    except MemoryError:
        raise
    except Exception as error:  # the architectures raise whatever a bad number leads to
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        detail = f"{type(error).__name__}: {'; '.join(lines[:3])[:300]}"
        raise failed(
            "weights_do_not_fit",
            f"config.json and the weights do not fit together ({detail}); copy both from the "
            "same source",
        ) from None
    if adapter is not None:
        model = apply_adapter(model, adapter)
    if checked.config.get("quantization") and not _quantized_modules(model):
        raise failed(
            "quantization",
            "config.json says that the weights are quantized, but no weight of the model is; "
            "remove `quantization` from config.json, or download the quantized weights",
            file="config.json",
        )
    return model, config


def materialize(model: Any, report: ProgressReport) -> None:
    """Read the weights, reporting bytes as they come, and evaluate every other array too.

    Arrays that are no parameters (the frequencies of scaled RoPE) stay lazy in mlx-lm and can
    then be evaluated by this thread alone (engine-notes §1).
    """
    parameters = _parameters(model)
    total = sum(array.nbytes for array in parameters)
    done = 0
    report("load", 0, total)
    for group in _groups(parameters, max(total // 20, 1 << 24)):
        mx.eval(group)
        done += sum(array.nbytes for array in group)
        report("load", done, total)
    mx.eval([array for module in model.modules() for array in _private_arrays(module)])


def set_blas_threads(loaded: LoadedModel, *, measure: bool) -> None:
    """Choose the number of the BLAS's threads for a model, and note it in ``info``.

    Without ``measure``, which computes parts of the model, the size of the weights decides.
    """
    threads = in_use().threads
    if threads is None:
        return
    model, size = loaded.model, loaded.info.weight_bytes
    matrix = largest_matrix(model)
    if matrix is None:
        threads.set(1)  # MLX takes the products of other dtypes from no BLAS
    elif not measure:
        threads.set(most_threads() if size >= LARGE_BYTES else 1)
    elif size >= HUGE_BYTES:
        threads.choose([lambda: measure_product(matrix)])
    else:
        threads.choose(
            [lambda: measure_product(matrix), lambda: measure_step(model, loaded.policy)]
        )
    loaded.info = structs.replace(loaded.info, blas_threads=threads.count)


def _describe(assembled: _Assembled, **told: Any) -> ModelInfo:
    """Describe the model by its modules, which may differ from config.json."""
    model, config = assembled.model, assembled.config
    blas = in_use()
    logits = model(mx.array([[0]]))  # lazy: shape and dtype alone are worked out
    text = {**config, **(config.get("text_config") or {})}
    return ModelInfo(
        model_type=str(config["model_type"]),
        vocab_size=int(logits.shape[-1]),
        layers=len(getattr(model, "layers", [])),
        hidden_size=_first_number(text, "hidden_size", "n_embd", "d_model", "dim", "model_dim"),
        quant_bits=assembled.quant_bits,
        quant_group=assembled.quant_group,
        parameters=_parameter_count(model),
        weight_bytes=_weight_bytes(model),
        compute_dtype=str(logits.dtype).removeprefix("mlx.core."),
        blas=blas.name,
        blas_threads=blas.threads.count if blas.threads is not None else 0,
        **told,
    )


def declared_context(config: dict[str, Any]) -> int:
    """Return the number of positions that the config declares, in tokens."""
    text = {**config, **(config.get("text_config") or {})}
    names = (
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
        "max_sequence_length",
        "seq_length",
        "n_ctx",
    )
    return _first_number(text, *names) or DEFAULT_CONTEXT


def _eos_ids(config: dict[str, Any], tokenizer: Tokenizer, vocabulary: int) -> frozenset[int]:
    """Return the end-of-text ids of config.json (or generation_config.json) and the tokenizer.

    Ids beyond the vocabulary are left out: no model generates them, and used as an index they
    would write past the logits.
    """
    declared = config.get("eos_token_id")
    ids: list[object] = [*declared] if isinstance(declared, list) else [declared]
    own = tokenizer.special_tokens.get("eos_token")
    if own is not None:
        ids.append(tokenizer.token_id(own))
    return frozenset(n for n in ids if isinstance(n, int) and 0 <= n < vocabulary)


def _quantized_modules(model: Any) -> list[Any]:
    return [
        module
        for module in model.modules()
        if isinstance(getattr(module, "bits", None), int)
        and isinstance(getattr(module, "group_size", None), int)
    ]


def _parameters(model: Any) -> list[mx.array]:
    flat: Any = tree_flatten(model.parameters())
    return [array for _, array in flat]


def _weight_bytes(model: Any) -> int:
    return sum(array.nbytes for array in _parameters(model))


def _parameter_count(model: Any) -> int:
    return int(mlx_lm_utils.get_total_parameters(model))


def _private_arrays(module: nn.Module) -> Iterator[mx.array]:
    for value in vars(module).values():
        if isinstance(value, mx.array):
            yield value
    for value in module.values():
        if isinstance(value, mx.array):
            yield value


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


def _first_number(config: dict[str, Any], *names: str) -> int:
    for name in names:
        value = config.get(name)
        if type(value) is int and value > 0:
            return value
    return 0
