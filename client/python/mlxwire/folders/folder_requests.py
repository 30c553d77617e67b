"""The requests about models on disk: discover and fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from mlxwire_protocol.models.replies import FitResult

from ..options import Path, request_options, set_fields
from ..requests.pending import ask
from ..requests.route import Connector
from ..requests.stream_request import ItemRequest
from ..results import convert_reply
from .discovery import DiscoverStream, convert_model, folders_of
from .fitting import FitOptions


class FolderRequests:
    """The base of `Worker`: its requests about models on disk."""

    def discover(
        self,
        paths: Path | Sequence[Path] = (),
        *,
        hub_cache: bool | None = None,
        check: Literal["headers", "full"] | None = None,
        deadline_seconds: float | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> DiscoverStream:
        """Find the models below folders, and in the hub's local cache; none is loaded.

        ``hub_cache`` left out is True without ``paths``. ``check``: read each folder's JSON files and
        the headers of its weights (``"headers"``, the default), or all that `load` would refuse
        (``"full"``). Sent as `Model.generate` is. Raises: InvalidParams.
        """
        fields = set_fields(
            paths=folders_of(paths),
            hub_cache=hub_cache,
            check=check,
            deadline_seconds=deadline_seconds,
        )
        return DiscoverStream(
            ItemRequest(
                self._without_model,
                "discover",
                fields,
                convert=convert_model,
                timeout=timeout,
                idle_timeout=idle_timeout,
                on_done=_ignore,
            )
        )

    async def fit(
        self,
        path: Path | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[FitOptions],
    ) -> FitResult:
        """Predict the memory that a model in a folder needs, without loading it; in bytes.

        ``path`` left out is the loaded model. Raises: ModelNotFound, ModelLoadFailed,
        UnsupportedModel, and ModelNotLoaded if there is neither.
        """
        fields = {**set_fields(path=path), **request_options(options)}
        return convert_reply(await ask(self._without_model, "fit", fields, timeout), FitResult)

    @property
    def _without_model(self) -> Connector:
        """The way of requests that need no model."""
        raise NotImplementedError


def _ignore(_: object) -> None:
    """Take the end of a request whose figures nothing asks for."""
