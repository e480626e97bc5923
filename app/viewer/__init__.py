"""A viewer of large images and label masks: only the tiles in sight are coloured and painted."""
