"""Connections to file servers, by the user's settings of proxy and certificates.

urllib3, because it leaves to us what a resumed download must decide by itself (redirects, retries,
what a status means), reads a body as it comes, knows HTTP and SOCKS proxies, and needs nothing but
the standard library. Certificates are always verified: by the roots of Mozilla (certifi), as uv
does, or those of the computer (truststore).
"""

from __future__ import annotations

import os
import ssl
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from typing import cast
from urllib.parse import urljoin, urlsplit

import certifi
import truststore
import urllib3
from urllib3 import exceptions
from urllib3.contrib.socks import SOCKSProxyManager
from urllib3.util import make_headers, parse_url

from envmanager.data import settings as settings_file
from envmanager.data.settings import Settings
from envmanager.fetching.addresses import is_safe, shown
from envmanager.fetching.failures import Offline, Unusable
from ga3_nodes import __version__

_REDIRECTS = 10
# The bytes of the file itself are wanted: a packed answer could not be resumed.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"GA3EnvManager/{__version__}"}


@dataclass(frozen=True)
class Silence:
    """Seconds without an answer after which a server is given up for this try."""

    connect_s: float = 20.0
    read_s: float = 30.0


@dataclass(frozen=True)
class Connections:
    """What opens the addresses of files; may be used by several threads."""

    settings: Settings
    silence: Silence = Silence()

    def open(self, url: str, headers: dict[str, str]) -> urllib3.HTTPResponse:
        """Ask for a file; return the answer with its body unread, whatever its status.

        Raises
        ------
        Offline
            The user wants no network.
        Unusable
            An address leads to a place that is not encrypted, or in a circle.
        urllib3.exceptions.HTTPError
            There is no answer.
        """
        if self.settings.offline:
            raise Offline()
        for _ in range(_REDIRECTS):
            if not is_safe(url):
                raise Unusable(f"{shown(url)} is no encrypted address (https).")
            response = self._ask(url, headers)
            target = response.get_redirect_location()
            if not target:
                return response
            response.close()
            url = urljoin(url, target)
        raise Unusable(f"{shown(url)} leads on and on to other addresses.")

    def _ask(self, url: str, headers: dict[str, str]) -> urllib3.HTTPResponse:
        manager = self._manager(url)
        answer = manager.request(
            "GET",
            url,
            headers={**_HEADERS, **headers},
            preload_content=False,
            decode_content=False,
            redirect=False,
            retries=False,
            timeout=urllib3.Timeout(connect=self.silence.connect_s, read=self.silence.read_s),
        )
        return cast(urllib3.HTTPResponse, answer)

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy = self._proxy(url)
        if not proxy:
            return urllib3.PoolManager(ssl_context=self._context)
        if proxy.startswith("socks"):
            return SOCKSProxyManager(proxy, ssl_context=self._context)
        auth = parse_url(proxy).auth
        return urllib3.ProxyManager(
            proxy,
            ssl_context=self._context,
            proxy_ssl_context=self._context,
            proxy_headers=make_headers(proxy_basic_auth=auth) if auth else None,
        )

    def _proxy(self, url: str) -> str:
        """Return the proxy for an address: the setting's, else the system's; empty for none."""
        parts = urlsplit(url)
        if urllib.request.proxy_bypass(parts.hostname or ""):
            return ""
        system = urllib.request.getproxies()
        proxy = self.settings.proxy or system.get(parts.scheme) or system.get("all", "")
        return proxy if not proxy or "://" in proxy else f"http://{proxy}"

    @cached_property
    def _context(self) -> ssl.SSLContext:
        chosen = self.settings.certificates
        if chosen == "system":
            return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if chosen:
            settings_file.look("certificates", chosen)
        file = chosen or os.environ.get("SSL_CERT_FILE") or certifi.where()
        return ssl.create_default_context(cafile=file)


def reason(error: Exception) -> str:
    """Say in words why there was no answer, or why it broke off."""
    if isinstance(error, exceptions.ProxyError):
        return f"the proxy does not work ({_cause(error)})"
    if isinstance(error, exceptions.NameResolutionError):
        return "the name of the server is not known; is there a network?"
    if isinstance(error, exceptions.NewConnectionError):  # first: it is a timeout too, by its class
        return "the server cannot be reached"
    if isinstance(error, (exceptions.ReadTimeoutError, exceptions.ConnectTimeoutError)):
        return "the server was silent for too long"
    return f"the connection broke off ({_cause(error)})"


def _cause(error: Exception) -> str:
    inner = error.args[-1] if error.args else error
    return str(inner) or type(inner).__name__
