"""What a killed install costs: bytes and seconds of two tries, against one that nobody kills.

`.venv/bin/python benchmarks/resumed_install.py [--size MB] [--rate MB/S] [--json]`. A small module
with one large wheel is installed by the command line from a server on this computer, which sends so
many MB per second and connection. `plain` leaves all downloads to uv (`resumable_downloads_above_mb
0`), `resumed` is the default. Killed means SIGKILL when half of the large wheel was sent.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import programs
from tests.faults import mini
from tests.file_server import Fault
from tests.wheel_server import WheelServer

MB = 1_000_000


def installed(wheels: mini.Wheels, rate: float, above: int, *, kill: bool) -> dict[str, Any]:
    """Install once from nothing; return what was sent of the large wheel, and the seconds."""
    large = wheels.files[1][0]
    with WheelServer() as server, tempfile.TemporaryDirectory() as place:
        for wheel in (wheels.numpy, *wheels.files[1]):
            server.add(wheel)
        server.files[f"/{large.name}"].faults[:] = [Fault(bytes_per_s=rate)] * 9
        root = Path(place)
        wheels.write_module(root / "modules", 1)
        text = f'index_url = "{server.index_url}"\nresumable_downloads_above_mb = {above}\n'
        (root / "settings.toml").write_text(text, "utf-8")
        env = {"GA3ENV_HOME": place, "UV_CACHE_DIR": str(root / "uv-cache")}
        started = time.perf_counter()
        if kill:
            process = programs.command("install", mini.NAME, **env)
            programs.until(lambda: sum(server.sent(large.name)) > large.stat().st_size / 2, 600)
            programs.end(process)
        code, told = programs.answer(programs.command("install", mini.NAME, **env))
        assert code == 0, told
        seconds = time.perf_counter() - started
        sent = [round(one / MB, 1) for one in server.sent(large.name)]
    return {"sent_mb": sent, "total_mb": round(sum(sent), 1), "seconds": round(seconds, 1)}


def main() -> None:
    """Measure the four ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=200, help="MB of the large wheel")
    parser.add_argument("--rate", type=float, default=20.0, help="MB per second")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    mini.BLOCK = options.size * MB
    mini.VERSIONS = (1,)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        wheels = mini.make_wheels(Path(folder))
        for way, above in (("plain", 0), ("resumed", 20)):
            for kill in (False, True):
                found = installed(wheels, options.rate * MB, above, kill=kill)
                rows.append({"way": way, "killed": kill, **found})
                if not options.json:
                    print(rows[-1], flush=True)
    if options.json:
        print(json.dumps({"size_mb": options.size, "rate_mb_s": options.rate, "rows": rows}))


if __name__ == "__main__":
    main()
