"""Typed answers: the JSON Schema of a caller's type, and the value of that type from a text."""
