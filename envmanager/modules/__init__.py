"""Modules: the catalog of them, and making one of one's own."""
