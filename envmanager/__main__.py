"""``python -m envmanager``: the command line."""

import sys


def _start() -> int:
    """Run the command line; Ctrl-C while it is still being imported ends as it does later."""
    try:
        from envmanager.cli import main

        return main()
    except KeyboardInterrupt:
        return _cancelled(sys.argv[1:])


def _cancelled(words: list[str]) -> int:
    """Say so with nothing of ours: who knows what is imported."""
    import json

    message, hint = "Cancelled.", "Nothing more was done."
    if "--json" in words:
        command = next((word for word in words if not word.startswith("-")), "")
        error = {"code": "cancelled", "message": message, "hint": hint, "details": {}}
        print(json.dumps({"ok": False, "command": command, "error": error}), flush=True)
    else:
        print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(_start())
