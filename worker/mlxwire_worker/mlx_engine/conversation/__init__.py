"""A conversation as one model's chat template can render it, and its token ids."""
