"""Start the app: ``python -m app``."""

from __future__ import annotations

import sys

from app import application
from envmanager.errors import GA3EnvError


def main() -> int:
    """Run the app; return the exit code."""
    try:
        application.check_display()
    except GA3EnvError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 1
    return application.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
