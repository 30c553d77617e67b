"""The requests about texts as such: render, embed, rerank, score and classify, and their results."""
