"""The data folder: where things lie, how they are written, who may, and the settings."""
