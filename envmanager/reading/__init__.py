"""Reads what microscopes write, one plane at a time: TIFF, OME-TIFF, ND2, PNG, JPEG, BMP, .npy."""
