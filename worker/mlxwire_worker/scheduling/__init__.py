"""Scheduling: which request the engine works for, and when."""
