"""The data folder: where things lie, how they are written, settings, and moving it all."""
