"""Moving the data folder to another place, safe to interrupt at any moment."""
