"""Sequences that generate together: prefill, decode, sampling."""
