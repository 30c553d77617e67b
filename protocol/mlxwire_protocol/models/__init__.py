"""The requests and replies about models on disk: `discover` and `fit`."""
