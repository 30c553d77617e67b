"""The worker's child process: find its program, spawn it, watch it, end it."""
