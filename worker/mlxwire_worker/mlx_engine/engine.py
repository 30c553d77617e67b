"""The Engine over mlx-lm. Its methods import mlx when they are first called, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlxwire_protocol import WireError, invalid_params
from mlxwire_protocol.messages import Chat, Classify, Generate, Load, Sampling
from mlxwire_protocol.replies import ModelInfo

from ..engine import (
    Classified,
    ClassifyPrompts,
    Engine,
    ProgressReport,
    Prompt,
    StepResult,
)
from .paths import PathPolicy
from .template import TemplateProcess

if TYPE_CHECKING:
    from .loading import LoadedModel
    from .runner import Runner

PARALLEL_SLOTS = 128
"""Sequences at once, where the host names no number."""


class MlxEngine(Engine):
    """One model on MLX's default device, and the sequences that it computes."""

    name: Literal["mlx", "mock"] = "mlx"

    def __init__(self, *, model_roots: tuple[Path, ...], allow_hub: bool) -> None:
        self._paths = PathPolicy(model_roots, allow_hub=allow_hub)
        self._templates = TemplateProcess()
        self._loaded: LoadedModel | None = None
        self._runner: Runner | None = None

    @property
    def model(self) -> ModelInfo | None:
        """What is loaded."""
        return self._loaded.info if self._loaded else None

    @property
    def slots(self) -> int:
        """Sequences at once."""
        return self._loaded.info.parallel_slots if self._loaded else 1

    def preload(self) -> None:
        """Import MLX and start the template process, so that `load` finds both ready."""
        self._templates.start()
        try:
            from .light_import import import_mlx_lm

            import_mlx_lm()
            from . import loading, runner, scoring  # noqa: F401
        except ImportError:
            return  # `load` says what is missing

    # -- the model -----------------------------------------------------------------------

    def load(self, request: Load, report: ProgressReport) -> ModelInfo:
        """Load a folder; whatever its checks find, the old model stays until they are passed."""
        path = self._paths.model(request.path)
        adapter = self._paths.adapter(request.adapter_path) if request.adapter_path else None
        report("check", 0, 1)
        _import_or_explain()
        from . import loading
        from .adapters import check_adapter
        from .chunks import ChunkSize
        from .kv import CachePolicy
        from .preflight import check_model
        from .prompt_cache import PromptCache
        from .runner import Runner
        from .tokenizer import Tokenizer
        from .warmup import warm_up

        checked = check_model(path)
        self._check_context(request, loading.declared_context(checked.config))
        if adapter is not None:
            check_adapter(adapter)
        tokenizer = Tokenizer.from_folder(path)
        model, config = loading.build(checked, adapter)
        policy = CachePolicy(model)
        slots = (request.parallel_slots or PARALLEL_SLOTS) if policy.batchable else 1
        loaded = loading.finish(
            checked,
            model,
            config,
            tokenizer=tokenizer,
            context_len=request.context_len,
            adapter=adapter,
            parallel_slots=slots,
        )
        if loaded.template is not None:
            self._templates.check(loaded.template)
        report("check", 1, 1)
        self.unload()
        loading.materialize(model, report)
        if request.warmup:
            warm_up(model, policy, loaded.info.vocab_size, report)
        self._runner = Runner(model, policy, PromptCache(policy), ChunkSize())
        self._loaded = loaded
        return loaded.info

    def unload(self) -> None:
        """Drop the model and return its memory to the system."""
        if self._loaded is None:
            return
        import gc

        import mlx.core as mx

        self._loaded = None
        self._runner = None
        gc.collect()
        mx.synchronize()
        mx.clear_cache()
        mx.reset_peak_memory()

    # -- the prepare thread --------------------------------------------------------------

    def prepare(self, request: Generate | Chat) -> Prompt:
        """Template, tokens and limits."""
        loaded = self._ready()
        self._check_sampling(request, loaded.info)
        if isinstance(request, Generate):
            ids = loaded.tokenizer.encode_prompt(request.prompt)
        else:
            ids = loaded.tokenizer.encode(
                self._render(request, loaded), add_special_tokens=False
            )
        field = "prompt" if isinstance(request, Generate) else "messages"
        self._check_ids(ids, field, loaded.info)
        stop_ids = frozenset(request.stop_tokens) | (
            frozenset() if request.ignore_eos else loaded.eos_ids
        )
        return Prompt(
            ids=ids,
            max_tokens=min(request.max_tokens, loaded.info.context_len - len(ids)),
            stop_ids=stop_ids,
            detokenizer=loaded.tokenizer.detokenizer(),
            request=request,
        )

    def prepare_classify(self, request: Classify) -> ClassifyPrompts:
        """Tokens and limits of every prompt and label."""
        loaded = self._ready()
        prompts = [loaded.tokenizer.encode_prompt(prompt) for prompt in request.prompts]
        labels = {
            label: loaded.tokenizer.encode(label, add_special_tokens=False)
            for label in request.labels
        }
        longest_label = max(map(len, labels.values()), default=0)
        for index, ids in enumerate(prompts):
            self._check_ids(ids, f"prompts[{index}]", loaded.info, extra=longest_label)
        for index, (label, ids) in enumerate(labels.items()):
            if not ids:
                raise invalid_params(f"labels[{index}]", f"the label {label!r} has no tokens")
            self._check_ids(ids, f"labels[{index}]", loaded.info)
        return ClassifyPrompts(prompts=prompts, labels=labels, request=request)

    def _render(self, request: Chat, loaded: LoadedModel) -> str:
        from .chat_template import template_variables

        if loaded.template is None:
            raise WireError(
                "unsupported_capability",
                "this model has no chat template; use `generate`, or add a chat_template.jinja "
                "to its folder",
                data={"missing": ["chat"]},
            )
        variables = template_variables(request, loaded.tokenizer.special_tokens)
        return self._templates.render(loaded.template, variables)

    # -- the engine's thread -------------------------------------------------------------

    def add(self, prompt: Prompt) -> None:
        """Begin a sequence."""
        assert self._runner is not None
        self._runner.add(prompt)

    def remove(self, prompts: Sequence[Prompt]) -> None:
        """Drop sequences; what they computed stays reusable."""
        if self._runner is not None:
            self._runner.remove(prompts)

    def step(self) -> list[StepResult]:
        """A decode step of all that decode, and a slice of prefill."""
        assert self._runner is not None
        return self._runner.step()

    def classify(self, prompts: ClassifyPrompts, index: int) -> Classified:
        """Score one prompt."""
        from . import scoring

        loaded = self._ready()
        return scoring.classify(loaded.model, loaded.tokenizer, prompts, index)

    def memory(self) -> tuple[int, int]:
        """Bytes that MLX has in use, and had at the peak."""
        if self._loaded is None:
            return 0, 0
        import mlx.core as mx

        return mx.get_active_memory(), mx.get_peak_memory()

    def close(self) -> None:
        """End the template process."""
        self._templates.close()

    # -- checks --------------------------------------------------------------------------

    def _ready(self) -> LoadedModel:
        if self._loaded is None:
            raise WireError("model_not_loaded", "load a model first")
        return self._loaded

    def _check_context(self, request: Load, declared: int) -> None:
        if request.context_len is not None and request.context_len > declared:
            raise invalid_params(
                "context_len",
                f"the model has {declared} positions; ask for at most that, or leave "
                "`context_len` out",
                context_len=declared,
            )

    def _check_sampling(self, request: Sampling, info: ModelInfo) -> None:
        if request.top_logprobs and not request.logprobs:
            raise invalid_params("top_logprobs", "`top_logprobs` needs `logprobs`: true")
        if request.top_logprobs > info.vocab_size:
            raise invalid_params("top_logprobs", "there are fewer tokens than `top_logprobs`")
        if request.penalty_window == 1:
            raise invalid_params(
                "penalty_window", "`penalty_window` may be 0, for the whole text, or 2 and more"
            )
        for token in request.logit_bias:
            if not token.isascii() or not token.isdigit() or int(token) >= info.vocab_size:
                raise invalid_params(
                    f"logit_bias.{token[:20]}",
                    f"{token[:20]!r} is no token id of the vocabulary of {info.vocab_size}",
                )
        if request.top_k > info.vocab_size:
            raise invalid_params(
                "top_k", f"`top_k` may be at most {info.vocab_size}, the vocabulary's size"
            )
        for index, token_id in enumerate(request.stop_tokens):
            if token_id >= info.vocab_size:
                raise invalid_params(
                    f"stop_tokens[{index}]",
                    f"token id {token_id} is not in the vocabulary of {info.vocab_size}",
                )

    def _check_ids(self, ids: list[int], field: str, info: ModelInfo, extra: int = 0) -> None:
        """No prompt may reach MLX empty, past the context, or with an id past the vocabulary."""
        if not ids:
            raise invalid_params(field, f"`{field}` has no tokens; send some text")
        if len(ids) + extra >= info.context_len:
            raise WireError(
                "context_overflow",
                f"`{field}` has {len(ids)} tokens and the context {info.context_len}, which "
                "leaves no room to answer; shorten it or load with a larger context_len",
                data={
                    "field": field,
                    "prompt_tokens": len(ids),
                    "context_len": info.context_len,
                },
            )
        if max(ids) >= info.vocab_size:
            raise invalid_params(
                field,
                f"`{field}` holds token id {max(ids)}, which the model's vocabulary of "
                f"{info.vocab_size} lacks; the tokenizer is not this model's",
            )


def _import_or_explain() -> None:
    try:
        from .light_import import import_mlx_lm

        import_mlx_lm()
    except ImportError as error:
        raise WireError(
            "model_load_failed",
            f"MLX is not installed for this worker ({error}); run: pip install 'mlxwire[mlx]'",
            data={"reason": "mlx_not_installed"},
        ) from None
