"""The pool: several workers behind one object."""
