"""Key-value caches: of layers, of prompts, in memory and on disk."""
