"""The sizes of wheels that an index does not tell: PyTorch's pages and folders have none."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from envmanager.data.settings import Settings
from envmanager.packages.lockfile import Wheel

_TIMEOUT_S = 10.0


def fill_in(wheels: Iterable[Wheel], settings: Settings) -> list[Wheel]:
    """Return the wheels with their sizes, as far as they can be learnt; 0 where they cannot."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda wheel: _with_size(wheel, settings), wheels))


def _with_size(wheel: Wheel, settings: Settings) -> Wheel:
    if wheel.size or not wheel.url:
        return wheel
    try:
        return replace(wheel, size=_size(wheel.url, settings))
    except (OSError, ValueError):  # a figure for a progress bar is no reason to fail
        return wheel


def _size(url: str, settings: Settings) -> int:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path)).stat().st_size
    if parts.scheme not in ("http", "https") or settings.offline:
        return 0
    request = urllib.request.Request(url, method="HEAD")
    with _opener(settings).open(request, timeout=_TIMEOUT_S) as answer:
        return int(answer.headers.get("Content-Length", 0))


def _opener(settings: Settings) -> urllib.request.OpenerDirector:
    """Return what asks through the proxy and with the certificates of the settings."""
    handlers: list[urllib.request.BaseHandler] = []
    if settings.proxy:
        handlers.append(
            urllib.request.ProxyHandler({"http": settings.proxy, "https": settings.proxy})
        )
    if Path(settings.certificates).is_file():
        context = ssl.create_default_context(cafile=settings.certificates)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)
