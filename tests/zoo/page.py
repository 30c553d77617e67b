"""The tables of docs/models.md, written from what each animal says of itself after its load."""

from __future__ import annotations

from pathlib import Path

from support.direct import Direct
from support.repository import ROOT

from .configurations import CONFIGURATIONS
from .refused import NOT_BUILT, refused, refused_somewhere

PAGE = ROOT / "docs" / "models.md"

_HEAD = """# Models

The architectures of mlx-lm that the worker serves, and their limits. `make zoo` builds a small random model of each, compares
every answer (in a batch, after a join or a leave, from the prompt cache, in slices of prefill, from `classify`) with the model
alone without a cache, and fails if a row of this page is not what it finds. `make zoo ZOO=--write-page` writes the page.

- **Together** (`batchable`, `batch_lengths`): sequences run in one batch, of any lengths or of equal lengths only; or one after the other.
- **Trimmed** (`cache_trimmable`): `yes`: a request reuses any beginning that it shares with a stored prompt. `no`: it reuses a chat up to
  the end of any message, a stored prompt that it continues, and what two prompts shared before; another beginning only while no window has slid.

Every model takes several requests at once: those that can't be computed together wait for each other. The `context_policy` `rotate` needs
keys and values in every layer; models with recurrent layers refuse it by name. `kv_bits` quantizes the keys and values that grow with a
sequence, and leaves sliding windows and recurrent states as they are; models that have nothing else refuse it by name.
On a GPU a text with few bits may differ with the rows beside it, because rounding there depends on their number.

| architecture | together | trimmed |
|---|---|---|
"""


def row(name: str, folder: Path) -> str:
    """Return an animal's row of the table."""
    direct = Direct(folder)
    try:
        told = direct.info.capabilities
    finally:
        direct.close()
    lengths = f"{told.get('batch_lengths', 'any')} lengths"
    together = lengths if told["batchable"] else "one by one"
    return f"| `{name}` | {together} | {'yes' if told['cache_trimmable'] else 'no'} |"


def served() -> list[str]:
    """Return the animals that load on every device, one for each architecture."""
    return [
        name
        for name, config in CONFIGURATIONS.items()
        if name == config["model_type"] and name not in {**refused(), **refused_somewhere()}
    ]


def render(rows: list[str]) -> str:
    """Return the whole page."""
    out = "\n".join(
        f"| `{name}` | {why} |" for name, why in sorted(refused_somewhere().items())
    )
    rest = "\n".join(f"- `{name}`: {why}." for name, why in sorted(NOT_BUILT.items()))
    return (
        _HEAD
        + "\n".join(rows)
        + "\n\n## Refused\n\nA load ends with `unsupported_model`.\n\n| architecture | reason |\n|---|---|\n"
        + out
        + f"\n\n## Not compared\n\n{rest}\n"
    )
