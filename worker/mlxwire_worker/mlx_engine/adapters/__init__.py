"""Adapters (LoRA, DoRA) that load beside a model, and compute row by row in one batch."""
