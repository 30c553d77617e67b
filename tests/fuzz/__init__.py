"""Fuzzing of the wire: what each target is fed, and what must hold whatever it is fed.

`test_targets.py` is the short run; `bench/endurance/fuzz.py` the long one.
"""
