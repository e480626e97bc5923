"""The borders of objects as polygons that enclose exactly their pixels."""

from __future__ import annotations

import numpy as np

Loops = dict[int, list[np.ndarray]]

# Directions are east, south, west, north. An edge runs between two corners of pixels and has its
# own object at its right. For each direction: the step (y, x), and from the corner at its end the
# pixels in front of it, to the left and to the right, in an array that is padded by one pixel.
_STEP = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
_AHEAD_LEFT = np.array([(0, 1), (1, 1), (1, 0), (0, 0)])
_AHEAD_RIGHT = np.array([(1, 1), (1, 0), (0, 0), (0, 1)])


def trace(labels: np.ndarray) -> Loops:
    """Return the borders of each object.

    Parameters
    ----------
    labels : ndarray of int
        (y, x); 0 is background.

    Returns
    -------
    dict of list of ndarray
        By label its loops: corners (n, 2) as x, y, where the pixel (y, x) = (0, 0) has the corners
        0 and 1. Outer borders run clockwise as seen on the screen, those of holes the other way, so
        that both rules of filling give exactly the object's pixels. Parts that touch at a corner
        share a loop.
    """
    padded = np.pad(labels, 1)
    width = labels.shape[1] + 1  # corners in a row
    keys, owners = _edges(padded, width)
    if not keys.size:
        return {}
    order = np.argsort(keys)
    keys, owners = keys[order], owners[order]
    directions = keys % 4
    y, x = np.divmod(keys // 4, width)
    end_y, end_x = y + _STEP[directions, 0], x + _STEP[directions, 1]
    turns = _turns(padded, owners, directions, end_y, end_x)
    following = np.searchsorted(keys, (end_y * width + end_x) * 4 + (directions + turns) % 4)
    is_corner = np.zeros(keys.size, bool)
    is_corner[following] = turns != 0
    while not is_corner[following].all():  # skip straight ways; each round doubles their length
        following = np.where(is_corner[following], following, following[following])
    corners = np.flatnonzero(is_corner)
    after = np.searchsorted(corners, following[corners])
    points = np.stack([x[corners], y[corners]], axis=1)
    return _collected(after.tolist(), owners[corners].tolist(), points)


def _edges(padded: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of all objects and whose they are; a key is 4 * corner + direction."""
    keys, owners = [], []
    above, below = padded[:-1, 1:-1], padded[1:, 1:-1]
    left, right = padded[1:-1, :-1], padded[1:-1, 1:]
    for own, other, direction, down, along in (
        (below, above, 0, 0, 0),
        (left, right, 1, 0, 0),
        (above, below, 2, 0, 1),
        (right, left, 3, 1, 0),
    ):
        y, x = np.nonzero((own != other) & (own != 0))
        keys.append(((y + down) * width + x + along) * 4 + direction)
        owners.append(own[y, x])
    return np.concatenate(keys), np.concatenate(owners)


def _turns(
    padded: np.ndarray,
    owners: np.ndarray,
    directions: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
) -> np.ndarray:
    """Return how the border goes on at the end (y, x) of each edge: -1 left, 0 straight, 1 right.

    Left comes first: so it crosses to a pixel that touches at a corner only.
    """
    left = padded[y + _AHEAD_LEFT[directions, 0], x + _AHEAD_LEFT[directions, 1]]
    right = padded[y + _AHEAD_RIGHT[directions, 0], x + _AHEAD_RIGHT[directions, 1]]
    return np.where(left == owners, -1, np.where(right == owners, 0, 1))


def _collected(after: list[int], owners: list[int], points: np.ndarray) -> Loops:
    """Walk each loop once."""
    loops: Loops = {}
    seen = bytearray(len(after))
    for first, owner in enumerate(owners):
        if seen[first]:
            continue
        loop, at = [], first
        while not seen[at]:
            seen[at] = 1
            loop.append(at)
            at = after[at]
        loops.setdefault(owner, []).append(points[loop])
    return loops
