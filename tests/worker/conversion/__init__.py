"""Tests of the program that converts models."""
