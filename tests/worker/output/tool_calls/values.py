"""Random names and arguments of tools."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import strategies as st

names = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=12)

texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["</tool_call>", '"}', "[ARGS]", "```", "<|end|>", "\\", "{[", "<｜tool▁call▁end｜>"]
)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
arguments: st.SearchStrategy[dict[str, Any]] = st.dictionaries(texts, values, max_size=3)
