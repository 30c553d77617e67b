"""Downloads the files of a model into the hub's local cache, resumed and with their checksums.

Theory of operation. The hub tells a commit, and for each file its size and checksum. A file goes to
``blobs/CHECKSUM.incomplete``, which an interruption leaves for the next run; once whole and checked it is
renamed, and linked to from ``snapshots/COMMIT``. The branch in ``refs`` moves last, so that other
programs see the old snapshot or the new one whole. huggingface_hub (2.4) keeps nothing of a broken
download and checks no checksum, so only its requests are used here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers

from mlxwire_protocol import WireError, invalid_params

from ..process.durable import sync
from .choosing import choose
from .failures import explained, unavailable, wrong_checksum

Report = Callable[[str, float, float], None]
_READ_BYTES = 1 << 22
_ARRIVING_BYTES = 1 << 20
"""The bytes of a piece, which an interruption may lose. By default the hub's client takes 10 MB."""
_DEFAULT_REVISION = "main"
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class File(NamedTuple):
    """A file of a repository: its size in bytes, and the SHA-256 of its bytes or its id in git."""

    name: str
    size: int
    checksum: str

    @property
    def in_git(self) -> bool:
        """Return True for a small file, whose checksum is that of a git object."""
        return len(self.checksum) == 40


def pull(
    name: str,
    *,
    revision: str | None,
    token: str | None,
    all_files: bool,
    report: Report,
) -> dict[str, Any]:
    """Download a model, and return its folder, commit, files, and the bytes that were fetched.

    Raises: WireError.
    """
    if ".." in Path(revision or "").parts:
        raise invalid_params(
            "revision",
            f"`revision` is {revision!r}; give the name of a branch or of a tag, or a commit",
        )
    try:
        if constants.HF_HUB_OFFLINE:
            return _from_cache(name, revision)
        return _Pull(name, revision, token, report).run(all_files=all_files)
    except Exception as error:  # the hub's client raises dozens of exception classes
        told = explained(error, name, revision)
        if told is None:
            raise
        raise told from error


def _from_cache(name: str, revision: str | None) -> dict[str, Any]:
    """Return the model in the cache. Raises: OfflineModeIsEnabled if it is not complete."""
    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except FileNotFoundError as error:
        raise OfflineModeIsEnabled from error
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {"path": str(folder), "revision": folder.name, "files": len(files), "fetched": 0}


class _Pull:
    """One download: its repository, and the bytes that have arrived."""

    def __init__(
        self, name: str, revision: str | None, token: str | None, report: Report
    ) -> None:
        self._name = name
        self._revision = revision or _DEFAULT_REVISION
        self._token = token
        self._report = report
        cache = Path(constants.HF_HUB_CACHE)
        own = repo_folder_name(repo_id=name, repo_type="model")
        self._folder: Path = cache / own
        self._locks: Path = cache / ".locks" / own
        self._total = self._done = self._fetched = 0

    def run(self, *, all_files: bool) -> dict[str, Any]:
        """Download all files. Raises: WireError, and what the hub's client raises."""
        info = HfApi().model_info(
            self._name, revision=self._revision, files_metadata=True, token=self._token
        )
        found = {file.name: file for file in _files(info)}
        commit = _checked_commit(info.sha)
        wanted = set(found) if all_files else choose(self._name, found)
        files = [found[name] for name in sorted(wanted)]
        self._report("look", 1, 1)
        self._check_room(files)
        self._total = sum(file.size for file in files)
        snapshot = self._folder / "snapshots" / commit
        for file in files:
            self._bring(file, snapshot, commit)
        self._name_revision(commit)
        return {
            "path": str(snapshot),
            "revision": commit,
            "files": len(files),
            "fetched": self._fetched,
        }

    def _blob(self, file: File) -> Path:
        return self._folder / "blobs" / file.checksum

    def _partial(self, file: File) -> Path:
        return self._folder / "blobs" / f"{file.checksum}.incomplete"

    def _check_room(self, files: list[File]) -> None:
        """Refuse a download that does not fit on the disk. Raises: WireError ``unavailable``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        needed = 0
        for file in files:
            if not self._blob(file).exists():
                partial = self._partial(file)
                needed += file.size - (partial.stat().st_size if partial.exists() else 0)
        with suppress(OSError):  # a file system that can't tell
            free = shutil.disk_usage(self._folder).free
            if needed > free:
                raise WireError(
                    "unavailable",
                    f"{self._name!r} needs {needed} more bytes, but the disk of the cache {constants.HF_HUB_CACHE!r} "
                    f"has {free} left; free some room, or name another cache in HF_HUB_CACHE",
                    retryable=False,
                    data={"reason": "disk", "needed": needed, "free": free},
                )

    def _bring(self, file: File, snapshot: Path, commit: str) -> None:
        """Bring a file into the cache, whole and checked, and link to it from the snapshot."""
        blob, partial = self._blob(file), self._partial(file)
        before = self._done
        with self._locked(file):
            if not (blob.exists() and self._matches(blob, file)):
                resumed = partial.exists()
                self._download(file, partial, commit)
                right = self._matches(partial, file)
                if not right and resumed:  # what was there before may have been damaged
                    partial.unlink()
                    self._download(file, partial, commit)
                    right = self._matches(partial, file)
                if not right:
                    partial.unlink()
                    raise wrong_checksum(self._name, file.name)
                sync(partial)
                partial.replace(blob)
            _link(snapshot / file.name, blob)
        self._done = before + file.size
        self._report("download", self._done, self._total)

    @contextmanager
    def _locked(self, file: File) -> Iterator[None]:
        """Hold the lock that other programs hold while they download the same file."""
        self._locks.mkdir(parents=True, exist_ok=True)
        self._blob(file).parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(self._locks / f"{file.checksum}.lock"):
            yield

    def _download(self, file: File, partial: Path, commit: str) -> None:
        """Fetch what is missing of a file. Raises: what the hub's client raises."""
        have = partial.stat().st_size if partial.exists() else 0
        if have > file.size:
            partial.unlink()
            have = 0
        url = hf_hub_url(self._name, file.name, revision=commit)
        # Packed in transit, a part of a file could not be asked for.
        headers = {**build_hf_headers(token=self._token), "Accept-Encoding": "identity"}
        start, fetched = self._done, self._fetched

        class Arrivals(_Arrivals):
            pull, first = self, start

        bar: Any = Arrivals  # its own base class draws on stderr
        constants.DOWNLOAD_CHUNK_SIZE = _ARRIVING_BYTES
        with partial.open("ab") as stream:
            http_get(
                url,
                stream,
                resume_size=have,
                headers=headers,
                expected_size=file.size,
                tqdm_class=bar,
            )
        self._fetched = fetched + file.size - have
        self._done = start

    def _matches(self, path: Path, file: File) -> bool:
        """Return True if a file's bytes have the checksum that the hub tells."""
        if path.stat().st_size != file.size:
            return False
        digest = hashlib.sha256()
        if file.in_git:
            digest = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
        read = 0
        with path.open("rb") as stream:
            while chunk := stream.read(_READ_BYTES):
                digest.update(chunk)
                read += len(chunk)
                self._report("verify", read, file.size)
        return digest.hexdigest() == file.checksum

    def arrived(self, done: int) -> None:
        """Report the bytes that are there, of all files."""
        self._report("download", done, self._total)

    def _name_revision(self, commit: str) -> None:
        """Point the branch or tag to the snapshot, which is whole now."""
        if self._revision == commit:
            return
        ref = self._folder / "refs" / self._revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        scratch = ref.with_name(f"{ref.name}.incomplete")
        scratch.write_text(commit, "utf-8")
        scratch.replace(ref)


class _Arrivals:
    """Stands in for the progress bar of the hub's client, and reports the bytes of a download."""

    pull: _Pull
    first: int

    def __init__(self, *_: object, initial: int = 0, **__: object) -> None:
        self._bytes = initial

    def update(self, count: float | None = 1) -> None:
        """Count the bytes of a piece; negative if the hub starts the file again."""
        self._bytes += int(count or 0)
        self.pull.arrived(self.first + self._bytes)

    def __enter__(self) -> _Arrivals:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: there is no bar to close."""


def _checked_commit(commit: str | None) -> str:
    """Return the commit that a hub tells, which becomes the name of a folder. Raises: WireError."""
    if commit is None or not _HASH.fullmatch(commit):
        raise unavailable(
            f"the hub {constants.ENDPOINT} names no commit of the model, so it may be no hub; check HF_ENDPOINT",
            "hub",
        )
    return commit


def _files(info: Any) -> Iterator[File]:
    """Yield the files that a hub lists in a repository, but none whose name leads out of its folder."""
    for sibling in info.siblings or []:
        parts = Path(sibling.rfilename).parts
        inside = parts and ".." not in parts and not Path(sibling.rfilename).is_absolute()
        checksum = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if inside and _HASH.fullmatch(checksum or "") and sibling.size is not None:
            yield File(sibling.rfilename, sibling.size, checksum)


def _link(place: Path, blob: Path) -> None:
    """Let a name in a snapshot lead to a blob, as the hub's client does."""
    target = os.path.relpath(blob, place.parent)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() and os.readlink(place) == target:
        return
    place.unlink(missing_ok=True)
    place.symlink_to(target)
