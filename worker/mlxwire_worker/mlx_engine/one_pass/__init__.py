"""Answers that one forward pass gives, without generating."""
