"""The limit on each wait for an event that must come."""

from __future__ import annotations

PATIENCE_SECONDS = 60.0
"""No test passes or fails by this limit on a machine that works: it ends tests that hang."""
