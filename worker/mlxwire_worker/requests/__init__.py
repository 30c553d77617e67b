"""Requests: what the worker owes its host, and what has become of each."""
