"""Several workers behind one object."""
