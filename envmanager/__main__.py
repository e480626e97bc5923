"""``python -m envmanager``: the command line."""

import sys

from envmanager.cli import main

if __name__ == "__main__":
    sys.exit(main())
