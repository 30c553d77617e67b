"""The forms in which families of models write tool calls: a parser and a grammar for each."""
