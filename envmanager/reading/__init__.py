"""Reads what microscopes write, plane by plane: TIFF, ND2, PNG, JPEG, BMP, .npy, OME-Zarr."""
