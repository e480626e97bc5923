"""Build a release for Windows: ``./run build-windows [--offline] ...``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from envmanager.errors import GA3EnvError
from external.telling import SetupError
from release.building import Wish, build


def main(arguments: Sequence[str] | None = None) -> int:
    """Build; return the exit code."""
    options = _parser().parse_args(arguments)
    wish = Wish(options.offline, options.python_archive, options.python_sha256, options.quick)
    try:
        files = [file.describe() for file in build(options.output.absolute(), wish)]
    except (GA3EnvError, SetupError) as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        told = {"code": error.code, "message": error.message, "hint": error.hint}
        outcome = {"ok": False, "error": told}
    else:
        for file in files:
            print(f"{file['size'] / 1e6:7.1f} MB  {file['path']}", file=sys.stderr)
        outcome = {"ok": True, "command": "build-windows", "data": {"files": files}}
    if options.json:
        print(json.dumps(outcome))
    return 0 if outcome["ok"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run build-windows",
        description="Make the installer and the portable ZIP for Windows.",
    )
    parser.add_argument(
        "--offline", action="store_true", help="carry the app's wheels too; needs a Python"
    )
    parser.add_argument(
        "--python-archive", type=Path, metavar="FILE", help="carry this Python (.zip or .tar.gz)"
    )
    parser.add_argument("--python-sha256", default="", metavar="HEX", help="what FILE must have")
    parser.add_argument(
        "--output", type=Path, default=Path("dist"), metavar="FOLDER", help="default: dist"
    )
    parser.add_argument("--quick", action="store_true", help="pack faster, some MB larger")
    parser.add_argument("--json", action="store_true", help="tell the outcome as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
