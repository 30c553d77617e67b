"""The operations that read texts and generate none: `render`, `embed`, `rerank`, `score`."""
