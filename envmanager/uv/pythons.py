"""The Python versions that a module allows, of those that the host runs on."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from envmanager.errors import CatalogError

HOST = ("3.10", "3.11", "3.12", "3.13", "3.14")
_LAST_PATCH = 99


def oldest(pyproject: Path) -> str:
    """Return the oldest version, such as ``3.10``, that a ``pyproject.toml`` allows.

    Raises
    ------
    CatalogError
        Its ``requires-python`` is missing, cannot be read, or allows none.
    """
    try:
        document = tomllib.loads(pyproject.read_text("utf-8"))
        allowed = SpecifierSet(document["project"]["requires-python"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidSpecifier) as error:
        raise CatalogError(
            f"{pyproject}: project.requires-python cannot be read ({error!r}).",
            'Correct the file, for example: requires-python = ">=3.10,<3.15"',
        ) from error
    for version in HOST:
        if any(allowed.contains(f"{version}.{patch}") for patch in range(_LAST_PATCH)):
            return version
    raise CatalogError(
        f"{pyproject}: project.requires-python {str(allowed)!r} allows no Python from {HOST[0]} to "
        f"{HOST[-1]}, which a module needs.",
        'Correct the file, for example: requires-python = ">=3.10,<3.15"',
    )
