"""The rules that `test_architecture.py` holds the packages to, and the sources that it reads."""
