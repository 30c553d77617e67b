"""Runs a program in a process of its own that ends with the worker: the programs of trainings."""
