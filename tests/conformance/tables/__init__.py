"""Three tables of cells that every client is held to: stopping, bad replies, values left out."""
