"""What users hand on: a module as one file, and what a methods section needs."""
