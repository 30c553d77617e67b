"""Tests of the commands that write model folders."""
