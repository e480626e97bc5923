"""The pinned uv: its commands, its cache, its downloads, and how it reaches the network."""
