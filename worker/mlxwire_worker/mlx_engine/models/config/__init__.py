"""Translates config.json to the names that a module of mlx-lm reads, and checks it."""
