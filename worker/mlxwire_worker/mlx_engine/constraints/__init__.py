"""Constraints: what form the text of an answer has, held at each token."""
