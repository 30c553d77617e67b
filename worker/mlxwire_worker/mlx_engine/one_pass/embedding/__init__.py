"""`embed`: texts become vectors, as the model's folder says. The settings are read without MLX."""
