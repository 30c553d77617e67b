"""The worker's process: pipes, command line, environment, and its end when the host dies."""
