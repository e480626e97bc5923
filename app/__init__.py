"""The desktop app: windows over the engine's public functions; the only user of Qt."""
