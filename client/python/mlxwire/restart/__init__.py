"""A worker whose process is started again after a crash."""
