"""Makes the mock worker fail at the messages that a fault script names, to test clients.

The worker's loop is the one that ships. Only its reader, its writer and its process are wrapped,
so messages without a fault are served as usual. Scripts: `testdata/faults/README.md`.
"""
