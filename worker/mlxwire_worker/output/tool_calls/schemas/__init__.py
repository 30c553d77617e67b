"""JSON Schemas of arguments, as forms read them that write each argument by itself."""
