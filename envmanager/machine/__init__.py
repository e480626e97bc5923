"""What the computer has: GPUs and driver, NIS-Elements and its Python."""
