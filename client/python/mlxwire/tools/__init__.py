"""Python functions as a model's tools: their schemas, and the rounds that run what it calls."""
