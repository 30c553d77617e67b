"""The wire of training: requests and replies of `train` and `evaluate` (SPEC §4, §5)."""
