"""The commands `mlxwire train` and `mlxwire evaluate`."""
