"""Environments of modules: built aside, tested, published; verified, repaired, rolled back."""
