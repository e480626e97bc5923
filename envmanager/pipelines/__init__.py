"""Pipelines: modules over whole folders of images, from a YAML file."""
