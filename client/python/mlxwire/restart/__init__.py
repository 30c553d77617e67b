"""Workers that are started again after a crash."""
