"""Loads an encoder: checks of the folder, the module tree, the weights, and a first pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.generate import generation_stream
from msgspec import structs

from mlxwire_protocol import invalid_params
from mlxwire_protocol.results import ModelInfo

from ...engine import DEFAULT_KV_GROUP_SIZE, LoadOptions, ProgressReport
from ...process.kernel_folder import with_whole_kernels
from ...process.stdio import log
from ..abilities import slow_parts
from ..mlx_patches.blas import in_use
from ..mlx_patches.direct_children import hold_children_directly
from ..mlx_patches.exponentials import vectorize
from ..mlx_patches.weight_layout import transpose_weights
from ..models import compute_dtype
from ..models.assembly import materialize, parameter_count, weight_bytes
from ..models.model_files import check_files, failed, read_object
from ..models.preflight import check_model
from ..models.soundness import NoNumbers
from ..one_pass.embedding.embedder import Embedder
from ..one_pass.embedding.pooling import Dense
from ..one_pass.embedding.slices import VectorTools
from ..sequences.prefill import ChunkSize
from ..sequences.thread_choice import choose_threads
from ..text.tokenizer import Tokenizer
from ..vectors import IS_ENCODER, NOT_OF_ENCODERS
from .bert import Encoder
from .building import Built, build_encoder
from .families import is_encoder
from .footprint import footprint_of
from .passing import EncoderPass
from .ranking import Ranker
from .reading import EncoderFolder, read_encoder

_WARM_LENGTHS, _SLOW_SECONDS = (2, 7, 16, 64, 128), 0.05
_MEASURED_LENGTH, _MEASURED_TEXTS = 32, 8
"""The texts by which the number of the BLAS's threads is chosen."""


@dataclass(slots=True, eq=False)
class LoadedEncoder:
    """A loaded encoder, what turns texts into its vectors, and its description (`info`)."""

    model: Encoder
    tokenizer: Tokenizer
    embedder: Embedder
    tools: VectorTools
    ranker: Ranker | None
    chunk: ChunkSize
    info: ModelInfo
    warnings: list[str]

    @property
    def missing(self) -> dict[str, str]:
        """Return the commands that the model can't do, each with the reason."""
        return dict.fromkeys(NOT_OF_ENCODERS, IS_ENCODER)


def is_encoder_folder(path: Path) -> bool:
    """Return True if a folder's config.json names an encoder; False also for a broken folder."""
    try:
        check_files(path)  # before any is opened: a pipe would be waited for
        return is_encoder(read_object(path / "config.json"))
    except Exception:  # `check_model` says what is wrong with it
        return False


def build(
    options: LoadOptions, path: Path, adapter: Path | None, report: ProgressReport
) -> LoadedEncoder:
    """Check a folder and build its encoder, with the weights still on disk.

    ``report`` may raise to end long work. Raises: as `mlx_engine.loading.build`.
    """
    checked = check_model(path)
    refuse_options(options, adapter)
    tokenizer = Tokenizer.from_folder(path)
    folder = read_encoder(path, checked.config)
    settings = folder.settings
    built = in_wanted_dtype(
        options, build_encoder(checked, folder.shape, lambda: report("check", 0, 1))
    )
    tokens = longest_text(options, folder)
    if options.context_len == "auto":
        stored = checked.weight_bytes
        footprint = footprint_of(built.model, folder.shape, context=tokens, stored=stored)
        footprint.check_room(options.memory_limit, mx.get_active_memory())
    chunk = ChunkSize(options.prefill_seconds)
    dense = tuple(Dense.read(layer) for layer in settings.dense)
    passing = EncoderPass(built.model, chunk)
    tools = VectorTools(passing, dense)
    embedder = Embedder(
        tokenizer=tokenizer,
        settings=settings,
        vocabulary=folder.shape.vocabulary,
        most_tokens=tokens,
        width=settings.width_of(folder.shape.width),
    )
    ranker = None
    if folder.activation is not None:
        ranker = Ranker(built.model, passing, embedder, folder.activation)
    info = _describe(built, folder, config_type=str(checked.config["model_type"]))
    return LoadedEncoder(
        model=built.model,
        tokenizer=tokenizer,
        embedder=embedder,
        tools=tools,
        ranker=ranker,
        chunk=chunk,
        info=structs.replace(info, path=str(path), context_len=tokens),
        warnings=list(_warnings(options)),
    )


def finish(loaded: LoadedEncoder, options: LoadOptions, report: ProgressReport) -> None:
    """Read the weights of a built encoder, make its modules fast, check it, and warm it up.

    Raises: WireError ``model_load_failed`` for damaged weights.
    """
    model = loaded.model
    materialize(model, report)
    mx.eval([array for layer in loaded.tools.dense for array in layer.arrays])
    transpose_weights(model)
    vectorize(model)
    hold_children_directly(model)
    with_whole_kernels(lambda: _check_numbers(loaded))
    if options.warmup:
        with_whole_kernels(lambda: _warm_up(loaded, report))
    count = choose_threads(
        model,
        partial(_measure_pass, loaded),
        loaded.info.weight_bytes,
        measure=options.warmup,
    )
    loaded.info = structs.replace(loaded.info, blas_threads=count)
    for warning in loaded.warnings:
        log(warning)


def refuse_options(options: LoadOptions, adapter: Path | None) -> None:
    """Refuse options for sequences, which an encoder has none of. Raises: WireError."""
    given = {
        "adapter_path": adapter is not None,
        "kv_bits": options.kv_bits is not None,
        "context_policy": options.context_policy == "rotate",
    }
    for name, told in given.items():
        if told:
            raise invalid_params(
                name,
                f"`{name}` is given, but this model is an encoder, which generates nothing and has no "
                f"such thing; leave `{name}` out",
            )


def _warnings(options: LoadOptions) -> Iterator[str]:
    yield from slow_parts()
    without_effect = {
        "parallel_slots": options.parallel_slots is not None,
        "prompt_cache_limit": options.prompt_cache_limit is not None,
        "kv_group_size": options.kv_group_size != DEFAULT_KV_GROUP_SIZE,
    }
    for name, told in without_effect.items():
        if told:
            yield f"`{name}` has no effect: this model is an encoder, which generates nothing"


def in_wanted_dtype(options: LoadOptions, built: Built, held: int | None = None) -> Built:
    """Convert the weights to the wanted dtype; `auto` leaves them if that takes too much memory.

    ``held`` are the bytes of a model that goes before; None means all that MLX holds.
    """
    held = mx.get_active_memory() if held is None else held
    dtype = compute_dtype.wanted_dtype(options.compute_dtype)
    if dtype is None:
        return built
    if options.compute_dtype == "auto":
        numbers = parameter_count(built.model)
        if not compute_dtype.fits(numbers * dtype.size, options.memory_limit, held):
            return built
    compute_dtype.convert(built.model, dtype)
    return built


def longest_text(options: LoadOptions, folder: EncoderFolder) -> int:
    """Return the most tokens of a text: what is asked, or what the folder says.

    Raises: WireError ``invalid_params`` if the host asks for more than the positions.
    """
    most = folder.shape.positions
    asked = options.asked_context
    if asked is None:
        return folder.context
    if asked > most:
        raise invalid_params(
            "context_len",
            f"`context_len` is {asked}, but the model has {most} positions; give at "
            f"most {most}, or leave `context_len` out",
            context_len=most,
        )
    return asked


def _describe(built: Built, folder: EncoderFolder, *, config_type: str) -> ModelInfo:
    blas, shape = in_use(), folder.shape
    return ModelInfo(
        model_type=config_type,
        vocab_size=shape.vocabulary,
        layers=shape.layers,
        hidden_size=shape.width,
        context_len=shape.positions,
        quant_bits=built.quant_bits,
        quant_group=built.quant_group,
        quant_mode=built.quant_mode,
        parameters=parameter_count(built.model),
        weight_bytes=weight_bytes(built.model),
        path="",
        adapter_path=None,
        chat_template=False,
        parallel_slots=1,
        capabilities=folder.capabilities,
        compute_dtype=dtype_of(built.model),
        blas=blas.name,
        blas_threads=blas.threads.count if blas.threads is not None else 0,
        pooling=folder.settings.pooling,
    )


def dtype_of(model: Encoder) -> str:
    """Return the dtype of the hidden states, which lazy arrays tell."""
    *_, last = model.states(mx.zeros((1, 1), dtype=mx.int32), None, [1])
    return str(last.dtype).removeprefix("mlx.core.")


def _check_numbers(loaded: LoadedEncoder) -> None:
    """Compute two tokens, and refuse weights that give no numbers, or zeros.

    Raises: WireError ``model_load_failed``.
    """
    model = loaded.model
    flat: Any = tree_flatten(model.parameters())
    with mx.stream(generation_stream):
        size = model.shape.vocabulary
        ids = mx.array([[size // 3, size // 2][: model.shape.positions]])
        *_, last = model.states(ids, None, [ids.shape[1]])
        outputs = [last, *([model.head(last[:, 0])] if model.shape.labels else [])]
        sound = all(mx.isfinite(each).all().item() for each in outputs)
        sound = sound and all(
            mx.isfinite(array.sum()).item()
            for _, array in flat
            if mx.issubdtype(array.dtype, mx.floating)
        )
        alike = mx.abs(last).max().item() == 0
    if not sound:
        raise NoNumbers
    if alike:
        raise failed(
            "damaged_weights",
            "the model gives zeros for every text: its weights are zeros or damaged. Download them "
            "again",
        )


def _warm_up(loaded: LoadedEncoder, report: ProgressReport) -> None:
    """Compute texts of several lengths: a device compiles its kernels at their first use."""
    lengths = [each for each in _WARM_LENGTHS if each <= loaded.info.context_len]
    for number, length in enumerate(lengths):
        report("warmup", number, len(lengths))
        seconds = _pass_seconds(loaded, [[0] * length] * 2)
        if mx.default_device() == mx.cpu and seconds > _SLOW_SECONDS:
            break  # a CPU has the same kernels for all lengths
    report("warmup", len(lengths), len(lengths))


def _measure_pass(loaded: LoadedEncoder) -> float:
    """Return the seconds that a group of texts takes."""
    length = min(_MEASURED_LENGTH, loaded.info.context_len)
    return _pass_seconds(loaded, [[0] * length] * _MEASURED_TEXTS)


def _pass_seconds(loaded: LoadedEncoder, rows: list[list[int]]) -> float:
    started = time.perf_counter()
    with mx.stream(generation_stream):
        for piece in loaded.tools.passing.pieces(rows, None):
            if piece is not None:
                mx.eval(piece.states)
    return time.perf_counter() - started
