"""Requests that are pending: their streams, limits and failures."""
