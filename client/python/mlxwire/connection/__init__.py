"""One connection to a worker, and how a request finds it."""
