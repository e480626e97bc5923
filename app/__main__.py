"""Start the app: ``python -m app [--time] [IMAGE, PIPELINE or MODULE FOLDER ...]``.

``--time`` prints how long the window took to appear, and closes it.
"""

from __future__ import annotations

import sys
import time

_TIME = "--time"


def main() -> int:
    """Run the app; return the exit code."""
    started = time.perf_counter()
    from app import application
    from envmanager.errors import GA3EnvError

    imported = time.perf_counter()

    def print_times() -> None:
        painted, used, loaded = time.perf_counter(), time.process_time(), len(sys.modules)
        print(f"imports {1000 * (imported - started):.0f} ms")
        print(f"first paint {1000 * (painted - started):.0f} ms after the start")
        print(f"processor time until then {1000 * used:.0f} ms, with Python's own start")
        print(f"{loaded} modules loaded", flush=True)
        application.application().quit()

    arguments = [argument for argument in sys.argv[1:] if argument != _TIME]
    try:
        application.check_display()
    except GA3EnvError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 1
    return application.run(arguments, print_times if _TIME in sys.argv else None)


if __name__ == "__main__":
    sys.exit(main())
