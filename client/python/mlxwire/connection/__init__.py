"""The connection to one worker process: handshake, requests, heartbeats and end."""
