"""Start the app: ``python -m app``."""

from __future__ import annotations

import sys

from app import application

if __name__ == "__main__":
    sys.exit(application.run(sys.argv[1:]))
