"""The computer that a bundle is for: its system and its Python."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

from envmanager.environments.generations import requires_python
from envmanager.errors import BadInput
from envmanager.modules.catalog import Module
from envmanager.uv import pythons

# By our name: what Python calls the platform, and uv (its "linux" means glibc 2.28 or newer).
_PLATFORMS = {"windows": ("win-amd64", "windows"), "linux": ("linux-x86_64", "linux")}
PLATFORMS = tuple(_PLATFORMS)
_LAST_PATCH = 99


@dataclass(frozen=True)
class Target:
    """A 64-bit PC (x86-64): `platform` is one of `PLATFORMS`, `python` a version as ``3.11``."""

    platform: str
    python: str

    @property
    def uv_platform(self) -> str:
        """The name by which uv resolves for it."""
        return _PLATFORMS[self.platform][1]

    @property
    def is_here(self) -> bool:
        """Whether its system is that of this computer."""
        return self.platform == here()

    def require_allowed(self, module: Module) -> None:
        """Refuse a Python that a module does not run on.

        Raises
        ------
        BadInput
            The message names what it allows.
        """
        allowed = SpecifierSet(requires_python(module))
        if self.python in pythons.HOST and any(
            allowed.contains(f"{self.python}.{patch}") for patch in range(_LAST_PATCH)
        ):
            return
        raise BadInput(
            f"{module.name} does not run on Python {self.python}: it needs {allowed}.",
            "Say which Python the other computer has, for example: --python 3.12",
            code="python_not_allowed",
        )


def here() -> str:
    """Return this computer's platform; empty where no bundle can be for it."""
    found = sysconfig.get_platform()
    return next((name for name, (tag, _) in _PLATFORMS.items() if tag == found), "")


def own_python() -> str:
    """Return the version of the app's own Python, as ``3.11``."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
