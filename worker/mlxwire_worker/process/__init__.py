"""The worker as a process: its pipes, its command line, its host's death."""
