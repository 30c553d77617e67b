"""Trains adapters and evaluates models in a process of its own, which the worker starts and watches."""
