"""The computer that a bundle is for: its system and its Python."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

from envmanager.environments.generations import requires_python
from envmanager.errors import BadInput
from envmanager.machine import nis
from envmanager.modules import catalog
from envmanager.modules.catalog import Module
from envmanager.uv import pythons

# By our name: what Python calls the platform, and uv (its "linux" means glibc 2.28 or newer), also
# in the names of the Pythons that it manages.
_PLATFORMS = {
    "windows": ("win-amd64", "windows", "windows-x86_64-none"),
    "linux": ("linux-x86_64", "linux", "linux-x86_64-gnu"),
}
PLATFORMS = tuple(_PLATFORMS)
_LAST_PATCH = 99
# What a program is for: of a PE file the number of its machine (two bytes, behind the signature
# whose place stands at 0x3C), of an ELF file class and byte order at 4, and the machine at 18.
_AMD64, _X86_64 = b"PE\0\0\x64\x86", b"\x3e\0"


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
    def uv_python(self) -> str:
        """The name by which uv knows a Python for it: ``cpython-3.12-windows-x86_64-none``."""
        return self.uv_python_of(self.python)

    def uv_python_of(self, version: str) -> str:
        """Return the name that a Python of this exact version has, and its folder."""
        return f"cpython-{version}-{_PLATFORMS[self.platform][2]}"

    @property
    def program(self) -> str:
        """The interpreter in the folder of its Python."""
        return "python.exe" if self.platform == "windows" else f"bin/python{self.python}"

    @property
    def library(self) -> str:
        """What a folder with that interpreter holds too, where it is complete."""
        if self.platform == "windows":
            return f"python{self.python.replace('.', '')}.dll"
        return f"lib/python{self.python}/os.py"

    def runs(self, head: bytes) -> bool:
        """Tell by its first bytes whether a program is one for this computer."""
        if self.platform == "windows":
            at = int.from_bytes(head[0x3C:0x40], "little")
            return head[:2] == b"MZ" and head[at : at + 6] == _AMD64
        return head[:6] == b"\x7fELF\x02\x01" and head[18:20] == _X86_64

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
        if self.python in allowed_pythons(module):
            return
        if self.python not in pythons.HOST:
            message = f"There is no bundle for Python {self.python}."
            hint = f"Say which one the other computer has: {', '.join(pythons.HOST)}"
        elif module.runtime == catalog.HOST:
            message = f"{module.name} runs inside NIS-Elements, which has Python {nis.PYTHON}."
            hint = f"Make the bundle for that: --python {nis.PYTHON}"
        else:
            needed = SpecifierSet(requires_python(module))
            message = f"{module.name} does not run on Python {self.python}: it needs {needed}."
            hint = "Say which Python the other computer has, for example: --python 3.12"
        raise BadInput(message, hint, code="python_not_allowed")


def here() -> str:
    """Return this computer's platform; empty where no bundle can be for it."""
    found = sysconfig.get_platform()
    return next((name for name, (tag, *_) in _PLATFORMS.items() if tag == found), "")


def own_python() -> str:
    """Return the version of the app's own Python, as ``3.11``."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def allowed_pythons(module: Module) -> list[str]:
    """Return the versions, as ``3.11``, that a bundle of a module can be for."""
    if module.runtime == catalog.HOST:
        return [nis.PYTHON]
    allowed = SpecifierSet(requires_python(module))
    patches = range(_LAST_PATCH)
    return [v for v in pythons.HOST if any(allowed.contains(f"{v}.{patch}") for patch in patches)]


def usual_python(modules: Iterable[Module]) -> str:
    """Return the version for a bundle of modules where none is asked for.

    The app's own, or else the newest that all of them run on.
    """
    allowed = [allowed_pythons(module) for module in modules]
    common = [version for version in pythons.HOST if all(version in one for one in allowed)]
    return own_python() if own_python() in common or not common else common[-1]
