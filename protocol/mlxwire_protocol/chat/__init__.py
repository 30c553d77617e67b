"""The types of a conversation: its turns, and the tools that the model may call (SPEC §4.4)."""
