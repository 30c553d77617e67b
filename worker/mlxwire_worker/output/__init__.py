"""Generated text on its way to the host. Knows no engine."""
