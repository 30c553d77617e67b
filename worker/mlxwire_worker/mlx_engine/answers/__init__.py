"""The form of a model's answers: its thoughts, its tool calls, and the rules of one answer."""
