"""The commands whose work a program does in a process of its own: `train` and `evaluate`."""
