"""The child process: found, spawned, watched and ended."""
