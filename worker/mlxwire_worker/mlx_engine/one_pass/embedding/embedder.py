"""Turns the texts and options of an `embed` into checked token ids, on the prepare thread.

Imports no MLX.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from mlxwire_protocol import WireError, invalid_params

from ....passes import EmbedOptions, TextInput, Texts
from ....prompts import AdapterUse
from ....requests.admission import check_given, check_ids, check_known
from ...models.model_files import quoted
from ...text.tokenizer import Tokenizer
from .settings import EmbeddingSettings

POOLINGS = ("mean", "last", "first", "max")
"""The poolings that a request may name."""


class VectorForm(NamedTuple):
    """The form of a request's vectors.

    ``skipped`` are the first tokens of each text, which the pooling leaves out; ``width`` is how many
    numbers of a vector are kept.
    """

    pooling: str
    skipped: int
    normalize: bool
    width: int


class Embedder(Struct, frozen=True, kw_only=True):
    """The settings of a loaded model by which texts become token ids for vectors.

    ``width`` is the number of a whole vector's numbers. With ``ends_once`` a special token that both
    the text and the tokenizer put at an end stands there once. ``problem`` tells why the model gives
    no vectors, "" if it does.
    """

    tokenizer: Tokenizer
    settings: EmbeddingSettings
    vocabulary: int
    most_tokens: int
    width: int
    ends_once: bool = False
    problem: str = ""

    def texts(
        self, texts: list[TextInput], options: EmbedOptions, adapter: AdapterUse | None
    ) -> Texts:
        """Return the token ids of texts, with an error for each that is empty or too long.

        Raises: WireError ``unsupported_capability``, ``invalid_params`` also for an unknown token id.
        """
        if problem := self.problem or self.settings.problem:
            raise no_vectors(problem)
        prefix = self._prefix(options, texts)
        form = self._form(options, prefix)
        ids: list[list[int]] = []
        failed: dict[int, WireError] = {}
        for index, text in enumerate(texts):
            field = f"texts[{index}]"
            try:
                ids.append(self._ids(text, prefix, field))
            except WireError as error:
                if error.field != field:
                    raise
                failed[index] = error.with_traceback(
                    None
                )  # which would hold this call in a cycle
                ids.append([])
        return Texts(ids=ids, failed=failed, adapter=adapter, options=form)

    def _ids(self, text: TextInput, prefix: str, field: str) -> list[int]:
        check_given(text, field)
        if isinstance(text, str):
            whole = prefix + text
            self.tokenizer.refuse_long(whole, field, self.most_tokens, answered=False)
            ids = self.encode(whole)
        else:
            check_known(text, field, self.vocabulary)
            ids = text
        check_ids(
            ids,
            field,
            vocabulary=self.vocabulary,
            context_len=self.most_tokens,
            answered=False,
        )
        return ids

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, with the special tokens around it."""
        if self.settings.lower_case:
            text = text.lower()
        ids = self.tokenizer.encode(text)
        if not self.ends_once:
            return ids
        end = self._declared_end()
        if end is not None and ids[-1:] != [end]:
            ids.append(end)
        special = {number for number, token in self.tokenizer.added.items() if token.special}
        while len(ids) > 1 and ids[-1] == ids[-2] and ids[-1] in special:
            ids.pop()
        while len(ids) > 1 and ids[0] == ids[1] and ids[0] in special:
            del ids[0]
        return ids

    def _declared_end(self) -> int | None:
        """Return the id that tokenizer_config.json puts behind each text; None if it puts none."""
        name = self.tokenizer.special_tokens.get("eos_token")
        if not self.settings.appends_end or name is None:
            return None
        return self.tokenizer.token_id(name)

    def _prefix(self, options: EmbedOptions, texts: list[TextInput]) -> str:
        """Return what comes before each text. Raises: WireError ``invalid_params``."""
        settings = self.settings
        given = {"instruction": options.instruction, "prompt_name": options.prompt_name}
        told = [name for name, value in given.items() if value is not None]
        if len(told) > 1:
            raise invalid_params(
                "prompt_name",
                "`instruction` and `prompt_name` are both given, and both say what comes before each "
                "text; leave one out",
            )
        listed = next((n for n, text in enumerate(texts) if not isinstance(text, str)), None)
        if told and listed is not None:
            raise invalid_params(
                told[0],
                f"`{told[0]}` is given, but `texts[{listed}]` is a list of token ids, which is taken "
                f"as it is; send strings, or leave `{told[0]}` out",
            )
        if options.instruction is not None:
            return settings.instructed(options.instruction)
        name = settings.default_prompt if options.prompt_name is None else options.prompt_name
        if name is None:
            return ""
        if name not in settings.prompts:
            known = ", ".join(map(repr, settings.prompts)) or "none"
            raise invalid_params(
                "prompt_name",
                f"the model has no prompt {quoted(name)[:80]!r}; accepted are those of its "
                f"config_sentence_transformers.json: {known}. Name one of them, or give `instruction`",
            )
        return settings.prompts[name]

    def _form(self, options: EmbedOptions, prefix: str) -> VectorForm:
        settings = self.settings
        pooling = options.pooling or settings.pooling
        if pooling is None:
            raise invalid_params(
                "pooling",
                "the model's folder does not say how the vectors of a text's tokens become one; give "
                f"`pooling`: {', '.join(POOLINGS)}",
            )
        skips = prefix and not settings.include_prompt and options.pooling is None
        return VectorForm(
            pooling=pooling,
            skipped=self._prompt_tokens(prefix) if skips else 0,
            normalize=settings.normalize if options.normalize is None else options.normalize,
            width=self._kept(options.dimensions),
        )

    def _prompt_tokens(self, prefix: str) -> int:
        """Return how many tokens of a text are the prompt's, as sentence-transformers counts."""
        ids = self.encode(prefix)
        token = self.tokenizer.added.get(ids[-1]) if ids else None
        return len(ids) - (1 if token is not None and token.special else 0)

    def _kept(self, asked: int | None) -> int:
        """Return how many numbers of a vector are kept. Raises: WireError ``invalid_params``."""
        if asked is None:
            return min(self.settings.truncate or self.width, self.width)
        if asked > self.width:
            raise invalid_params(
                "dimensions",
                f"`dimensions` is {asked}, but the model's vectors have {self.width} numbers; give at "
                f"most {self.width}, or leave `dimensions` out",
            )
        widths = self.settings.widths
        if widths and asked not in (*widths, self.width):
            raise invalid_params(
                "dimensions",
                f"`dimensions` is {asked}, but the model was trained to be cut to "
                f"{', '.join(map(str, sorted(widths)))} numbers; give one of these, or leave "
                "`dimensions` out",
            )
        return asked


def no_vectors(problem: str) -> WireError:
    """Return the error for a model that gives no vectors; ``problem`` says why."""
    return WireError(
        "unsupported_capability",
        f"this model gives no vectors: {problem}; load another model to embed",
        data={"missing": ["embed"]},
    )
