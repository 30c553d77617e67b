"""The worker process: a language model behind stdin and stdout."""

__version__ = "0.1.0"
