"""What is said where an image file cannot be read."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envmanager.errors import ImageError


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises into an ImageError about this file.

    Raises
    ------
    ImageError
        The work in the ``with`` failed.
    """
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(
            f"{path.name} does not fit into memory.",
            "Save a part of it as a file of its own, or close other programs.",
        ) from error
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise _unreadable(path, error) from error


def hint(error: OSError, otherwise: str) -> str:
    """Return the next step after what the system refused."""
    if error.errno == errno.ENAMETOOLONG:
        return "Choose a shorter name."
    if error.errno == errno.ENOSPC:
        return "Free some space, or choose another drive."
    return otherwise


def _unreadable(path: Path, error: Exception) -> ImageError:
    if isinstance(error, PermissionError):
        return ImageError(
            f"{path.name} may not be read.", "Check the permissions of the file and its folder."
        )
    # Pillow's errors about damaged files are OSErrors too, but without a number.
    if isinstance(error, OSError) and error.errno:
        return ImageError(
            f"{path.name} cannot be read: {error.strerror}.",
            hint(error, "Check the drive, or copy the file to this computer."),
        )
    return ImageError(
        f"{path.name} cannot be read: {error or type(error).__name__}.",
        "The file is damaged or not what its name says; export it again as TIFF.",
    )
