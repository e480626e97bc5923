"""Self-test of the module."""

import numpy as np
import worker


def test_two_squares():
    image = np.full((64, 64), 100, np.uint16)
    image[10:25, 10:25] = image[35:55, 35:55] = 1000
    assert worker.segment(image).max() == 2
