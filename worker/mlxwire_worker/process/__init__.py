"""The worker as a process: its pipes, its command line, its environment, its host's death."""
