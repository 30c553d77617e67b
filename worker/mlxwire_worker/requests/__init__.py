"""Requests: the worker's record of each request, from its acceptance to its final reply."""
