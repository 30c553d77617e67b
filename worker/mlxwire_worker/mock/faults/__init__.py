"""Faults for the mock: what a worker may do wrong, at the message that a script names.

The loop is the one that ships. Only the two ends of its wire and its process are wrapped, so
whatever a script does not spoil is served as ever. Scripts: `testdata/faults/README.md`.
"""
