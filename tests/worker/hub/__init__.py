"""Tests of the program that downloads models from a hub."""
