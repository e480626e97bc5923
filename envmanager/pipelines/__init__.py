"""Pipelines: modules over whole folders of images, from a YAML file."""

SUFFIXES = (".yaml", ".yml", ".ga3pipeline")  # of the files that hold one
