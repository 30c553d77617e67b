"""One request from its line to its final reply, and the limits that it is held to."""
