"""uv for the other computer: the very wheel that ``external/tools.toml`` names."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path

from envmanager.bundles import pylocks
from envmanager.bundles.gathering import Packages
from envmanager.bundles.target import Target
from envmanager.data.paths import APP, base_python
from envmanager.errors import InstallFailed
from envmanager.packages import lockfile, wheelhouse
from envmanager.uv.program import Uv

TOOLS = APP / "external" / "tools.toml"


def packages(uv: Uv, target: Target) -> Packages:
    """Look up uv's wheel for another computer; `uv` resolves for that.

    Raises
    ------
    InstallFailed
        The index offers another file than the one that the app names.
    ToolFailed
        uv cannot look it up.
    """
    pinned = tomllib.loads(TOOLS.read_text("utf-8"))["uv"]
    allowed = pinned[f"{target.platform}-x86_64"]["wheel_sha256"]
    with tempfile.TemporaryDirectory(prefix="ga3-bundle-") as place:
        wanted, pylock = Path(place) / "uv.in", Path(place) / "pylock.toml"
        wanted.write_text(f"uv=={pinned['version']}\n", "utf-8")
        uv.resolve(wanted, base_python(), pylock)
        wheels = lockfile.wheels(pylock)
        local = pylocks.local_file(wheels[0], pylock.parent)
    pylocks.require_wheel(wheels[0])
    if wheelhouse.digest(wheels[0]) not in allowed:
        raise InstallFailed(
            f"The package index has another uv {pinned['version']} than external/tools.toml names.",
            "Correct the setting index_url, or leave --with-uv out.",
            code="hash_mismatch",
        )
    return Packages("", "", wheels, {wheels[0].package: local} if local else {})
