"""The pinned uv: its commands, its cache, and how it reaches the network."""
