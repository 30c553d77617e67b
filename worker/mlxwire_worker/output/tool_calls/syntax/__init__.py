"""The syntaxes that several families share: JSON and Python, and grammars of calls in JSON."""
