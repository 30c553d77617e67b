"""The work that an engine may leave out: by default each method refuses its command by name.

Methods for a command come in two: one on the prepare thread, which checks and tokenizes, and one on the
engine's thread, which computes a bounded slice. Imports no MLX and no wire message.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlxwire_protocol import WireError
from mlxwire_protocol.commands import EngineName

from .folders import Fit, FitOptions, FoundFolder
from .passes import EmbedOptions, Rendered, Scored, TextInput, Texts
from .prompts import ChatInput, Inspected, Inspection


class OptionalWork:
    """The part of an engine for commands that not every engine has."""

    name: EngineName

    def check_command(self, name: str) -> None:
        """Check that the loaded model can do a command. Any thread but the reader's.

        Raises: WireError ``unsupported_capability``; never by default.
        """

    # -- the prepare thread -----------------------------------------------------------------

    def inspection(self, text: str, layers: list[int] | None, path: str) -> Inspection:
        """Tokenize a prompt to inspect, and check it and the path.

        Raises: WireError, as `text_prompt` does; ``unsupported_capability`` by default.
        """
        raise self._unable("inspect")

    def rendered(self, chat: ChatInput) -> Rendered:
        """Render a conversation, and find the tokens of each message. Raises: WireError."""
        raise self._unable("render")

    def embed_texts(
        self, texts: list[TextInput], options: EmbedOptions, adapter: str | None
    ) -> Texts:
        """Tokenize and check texts to embed. Raises: WireError, also if the model can't embed."""
        raise self._unable("embed")

    def score_texts(self, texts: list[TextInput], adapter: str | None) -> Texts:
        """Tokenize and check texts to score. Raises: WireError, also if the model can't score."""
        raise self._unable("score")

    def rerank_pairs(
        self, query: str, documents: list[str], instruction: str | None, adapter: str | None
    ) -> Texts:
        """Tokenize and check a query with each document. Raises: WireError, as `embed_texts`."""
        raise self._unable("rerank")

    # -- the engine's thread ----------------------------------------------------------------

    def inspect(self, inspection: Inspection) -> Inspected | None:
        """Compute one bounded slice; return the result once the file is written. Raises: WireError."""
        raise NotImplementedError

    def embed(self, texts: Texts) -> list[tuple[int, list[float]]]:
        """Compute one bounded slice of the texts that are ``left``, as `classify` does.

        Return the vectors that the slice completes.
        """
        raise NotImplementedError

    def score(self, texts: Texts) -> list[tuple[int, Scored]]:
        """Compute one bounded slice, as `embed` does; return log-probabilities of tokens."""
        raise NotImplementedError

    def rerank(self, pairs: Texts) -> list[tuple[int, float]]:
        """Compute one bounded slice, as `embed` does; return relevance scores of pairs."""
        raise NotImplementedError

    # -- the thread of files: models that are not loaded ---------------------------------------

    def find_models(
        self, paths: list[str], *, hub_cache: bool, full: bool
    ) -> Iterator[FoundFolder | None]:
        """Yield the models below folders, and in the hub's local cache; import no MLX.

        None comes now and then where there is no model. ``full`` makes all checks of a load that need
        no weights. Raises: WireError.
        """
        raise self._unable("discover")

    def fit(self, options: FitOptions) -> Fit:
        """Predict the memory that a model needs. Raises: WireError."""
        raise self._unable("fit")

    def _unable(self, command: str) -> WireError:
        return WireError(
            "unsupported_capability",
            f"the engine {self.name} can't `{command}`; use another engine",
            data={"missing": [command]},
        )
