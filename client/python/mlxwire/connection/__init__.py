"""One worker process as a conversation: handshake, requests, heartbeats, end."""
