"""Builds what Windows users get: an installer and a portable ZIP (`./run build-windows`)."""
