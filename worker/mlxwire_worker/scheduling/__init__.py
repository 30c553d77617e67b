"""Scheduling: decides when the engine works for each request."""
