"""Finds model folders and describes them by their JSON files and headers; imports no MLX."""
