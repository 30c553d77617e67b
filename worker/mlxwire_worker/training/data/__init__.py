"""Data files of a training: their lines checked, their rows as token ids, and the batches of each step."""
