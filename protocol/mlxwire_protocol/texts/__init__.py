"""The requests and replies about texts as such: `render`, `embed`, `rerank` and `score`."""
