"""Requests, from their first line to their final reply, and their limits."""
