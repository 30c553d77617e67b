"""Turns generated tokens into text pieces for the host. Imports no engine."""
