"""Encoders of the BERT family, which mlx-lm has not: their settings, modules, heads and loads."""
