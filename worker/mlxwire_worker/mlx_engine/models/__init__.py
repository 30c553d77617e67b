"""Model and adapter folders: path rules, checks before a load, adapters, quantization."""
