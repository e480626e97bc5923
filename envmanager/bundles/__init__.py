"""Offline bundles: modules, packages and weights as one file for a computer without a network."""
