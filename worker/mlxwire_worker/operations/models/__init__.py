"""The operations about models on disk: `discover` and `fit`."""
