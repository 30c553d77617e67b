"""Replacements for parts of mlx and mlx-lm, each with its reason."""
