"""JSON Schemas as llguidance can enforce them, and as jsonschema-rs validates a finished text."""
