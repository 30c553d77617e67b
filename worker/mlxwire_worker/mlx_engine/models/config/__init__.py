"""What config.json says, translated to the names that a module of mlx-lm reads, and checked."""
