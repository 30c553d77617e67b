"""Dialect 0, the older wire without ids, behind the same typed commands (SPEC §7)."""
