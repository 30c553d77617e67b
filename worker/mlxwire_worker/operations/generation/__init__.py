"""The parts that the operations which generate text have in common."""
