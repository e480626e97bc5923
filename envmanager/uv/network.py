"""How uv reaches the network and finds interpreters: the settings as environment variables."""

from __future__ import annotations

import os

from envmanager.data import settings as settings_file
from envmanager.data import values
from envmanager.data.settings import Settings

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SOURCES: dict[str, dict[str, str]] = {
    "any": {},
    "system": {"UV_NO_MANAGED_PYTHON": "1", "UV_PYTHON_DOWNLOADS": "never"},
    "managed": {"UV_MANAGED_PYTHON": "1"},
}


def environment(settings: Settings) -> dict[str, str]:
    """Return uv's variables for these settings; an empty one takes back the user's own.

    Raises
    ------
    SettingsError
        The file of certificates cannot be used.
    """
    found = {**_proxy(settings), **_certificates(settings), **_SOURCES[settings.python_source]}
    if settings.offline:
        found["UV_OFFLINE"] = "1"
    if settings.python_mirror:
        place = values.local_place(settings.python_mirror)
        found["UV_PYTHON_INSTALL_MIRROR"] = place.as_uri() if place else settings.python_mirror
    return found


def _proxy(settings: Settings) -> dict[str, str]:
    """Return the variables of the proxy; what NO_PROXY names is still reached directly."""
    if not settings.proxy:
        return {}
    # Programs read them in small letters too, and first: those that are set get the same value.
    small = [name for name in os.environ if name.upper() in _PROXIES]
    return dict.fromkeys([*_PROXIES, *small], settings.proxy)


def _certificates(settings: Settings) -> dict[str, str]:
    if not settings.certificates:
        return {}
    settings_file.look("certificates", settings.certificates)
    system = settings.certificates == "system"
    # What else chooses certificates is taken back: the setting must not be mixed with it.
    return {
        "SSL_CERT_FILE": "" if system else settings.certificates,
        "SSL_CERT_DIR": "",
        "UV_SYSTEM_CERTS": "1" if system else "0",
        "UV_NATIVE_TLS": "1" if system else "0",
    }
