"""Explains why a hub does not give a model: the code, what is wrong, and what to do about it."""

from __future__ import annotations

import errno
import os

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mlxwire_protocol import WireError, invalid_params

from ..requests.surroundings import lacking

_TOKEN = "a token (`--token`, the variable HF_TOKEN, or `hf auth login`)"


def explained(error: Exception, name: str, revision: str | None) -> WireError | None:
    """Return the typed error for what the hub's client raised; None for a defect."""
    hub = constants.ENDPOINT
    match error:
        case WireError():
            return error
        case HFValidationError():
            return invalid_params(
                "name",
                f"`name` is {name[:200]!r}, which is no name of a repository; give it as ORG/NAME",
            )
        case OfflineModeIsEnabled():
            return unavailable(
                f"{name!r} is not complete in the cache, and HF_HUB_OFFLINE forbids downloads; unset it, or give "
                "the path of a model folder",
                "offline",
            )
        case GatedRepoError():
            return unavailable(
                f"{name!r} is gated: accept its terms at {hub}/{name}, and then give {_TOKEN} of the same "
                "account",
                "gated",
            )
        case RevisionNotFoundError():
            return not_found(
                f"{name!r} has no revision {revision!r}; give a branch, a tag or a commit of it, or leave "
                "`--revision` out",
                "revision",
            )
        case RepositoryNotFoundError():
            return not_found(
                f"the hub {hub} has no model {name!r}, or it is private; check the name, and for a private one give "
                f"{_TOKEN}",
                "repository",
            )
        case HfHubHTTPError():
            return _of_status(error, name)
    found = lacking(error, f"{name!r} can't be downloaded", folder=constants.HF_HUB_CACHE)
    if found is not None:
        return found
    if _is_of_network(error):
        return unavailable(
            f"the hub {hub} can't be reached, or the connection broke ({_words(error)}); check the network, the "
            "proxy and HF_ENDPOINT, and pull again: what has arrived stays",
            "network",
            retryable=True,
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
        return unavailable(
            f"the cache can't be written ({error.strerror}: {error.filename}); make it writable, or name another "
            "one in HF_HUB_CACHE",
            "cache",
        )
    return None


def _of_status(error: HfHubHTTPError, name: str) -> WireError:
    status = error.response.status_code
    if status in (401, 403):
        return unavailable(
            f"the hub does not let this account read {name!r} (status {status}); give {_TOKEN} that may read it",
            "forbidden",
        )
    return unavailable(
        f"the hub {constants.ENDPOINT} answered with status {status}; pull again later: what has arrived stays",
        "hub",
        retryable=True,
    )


def not_found(message: str, reason: str) -> WireError:
    """Create the error for a model that the hub does not have."""
    return WireError("model_not_found", message, data={"reason": reason})


def unavailable(message: str, reason: str, *, retryable: bool = False) -> WireError:
    """Create the error for a model that can't be downloaded now, or not with this account."""
    return WireError("unavailable", message, retryable=retryable, data={"reason": reason})


def wrong_checksum(name: str, file: str) -> WireError:
    """Create the error for a file whose checksum is not the hub's."""
    return WireError(
        "model_load_failed",
        f"{file} of {name!r} has a checksum other than the hub's, also when downloaded again; it was removed. "
        "Check the network and the proxy, and pull again",
        retryable=True,
        data={"reason": "checksum", "file": file},
    )


def _is_of_network(error: Exception) -> bool:
    """Return True for an error of the HTTP client, whose package has changed with versions."""
    package = type(error).__module__.partition(".")[0]
    cut_off = isinstance(error, OSError) and "Consistency check failed" in str(error)
    return (
        package.startswith(("httpx", "httpcore", "requests"))
        or cut_off
        or isinstance(error, ConnectionError | TimeoutError)
    )


def _words(error: Exception) -> str:
    told = (
        os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    )
    return " ".join(told.split())[:200] or type(error).__name__
