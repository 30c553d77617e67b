"""Predicts the memory that a model needs, and the longest context that fits."""
