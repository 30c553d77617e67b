"""Replaces parts of mlx and mlx-lm. Each file names the part, the reason and the version."""
