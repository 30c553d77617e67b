"""Text and tokens: tokenizers, control tokens and chat templates."""
