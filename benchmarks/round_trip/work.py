"""The work that every transport asks for: as little as possible, so that the way is what counts."""

from __future__ import annotations

import numpy as np

THRESHOLD = 1000


def segment(image: np.ndarray) -> np.ndarray:
    """Return the mask of the pixels above the threshold, as bool."""
    return image > THRESHOLD


def segment_into(image: np.ndarray, mask: np.ndarray) -> None:
    """Do the same, and write the mask as int32."""
    np.copyto(mask, segment(image), casting="unsafe")
