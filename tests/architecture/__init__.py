"""What `test_architecture.py` reads, and the rules that it holds the packages to."""
