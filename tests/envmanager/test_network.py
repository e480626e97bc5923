"""Settings for the network and for interpreters, with the real uv against servers of the tests."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from envmanager.data.paths import DataFolder, base_python, venv_base
from envmanager.data.settings import Settings
from envmanager.errors import SettingsError, ToolFailed
from envmanager.uv import network
from envmanager.uv.program import Uv
from tests import wheels
from tests.local_index import LocalIndex

NOBODY = "http://127.0.0.1:9/"  # nothing listens there
OPENSSL = shutil.which("openssl")


@pytest.fixture(autouse=True)
def plain_network(monkeypatch, tmp_path):
    """Leave nothing of this computer's own proxies, certificates and caches."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "leerer cache"))


@pytest.fixture
def wheel(tmp_path) -> Path:
    return wheels.make_wheel(tmp_path / "wheels", "ga3-probe", "1.0", {"ga3_probe.py": "X = 1\n"})


@pytest.fixture
def install(data_folder, tmp_path, wheel):
    """Return a function that installs the wheel with some settings; it returns its module."""

    def call(settings: Settings) -> Path:
        lock = tmp_path / "requirements.lock"
        lock.write_text(wheels.requirement(wheel), "utf-8")
        folder = tmp_path / "packages"
        Uv(DataFolder(data_folder), settings).install_into(folder, lock, base_python())
        return folder / "ga3_probe.py"

    return call


def test_packages_come_through_the_proxy(install, wheel, monkeypatch):
    monkeypatch.setenv("https_proxy", NOBODY)  # the setting wins over what the user's shell says
    monkeypatch.setenv("HTTP_PROXY", NOBODY)
    with LocalIndex([wheel]) as proxy:
        # A host that does not exist: only a proxy can reach it.
        settings = Settings(index_url="http://mirror.invalid/simple/", proxy=f"http://{proxy.host}")
        assert install(settings).is_file()
        assert proxy.requests[f"/simple/ga3-probe/{wheel.name}"]


def test_without_its_proxy_the_same_index_is_not_reached(install, wheel):
    with LocalIndex([wheel]) as proxy, pytest.raises(ToolFailed) as caught:
        install(Settings(index_url="http://mirror.invalid/simple/"))
    assert "proxy" in caught.value.hint
    assert not proxy.requests


def test_no_proxy_is_honoured(install, wheel, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with LocalIndex([wheel]) as index:
        assert install(Settings(index_url=index.url, proxy=NOBODY)).is_file()


def test_offline_asks_nobody(install, wheel):
    with LocalIndex([wheel]) as index, pytest.raises(ToolFailed):
        install(Settings(index_url=index.url, offline=True))
    assert not index.requests


def test_the_index_can_be_a_folder(install, wheel, tmp_path):
    folder = tmp_path / "spiegel é" / "ga3-probe"
    folder.mkdir(parents=True)
    shutil.copy(wheel, folder)
    link = f'<a href="{wheel.name}">{wheel.name}</a>'
    (folder / "index.html").write_text(link, "utf-8")
    address = folder.parent.as_uri()
    assert install(Settings(index_url=address)).is_file()


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([str(OPENSSL), *arguments], cwd=folder, check=True, capture_output=True)


def _authority(folder: Path) -> Path:
    """Make an authority of our own; return its certificate."""
    folder.mkdir()
    subject = ["-subj", f"/CN=Lab {folder.name}", "-days", "2", "-keyout", "ca.key"]
    _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-out", "ca.pem")
    return folder / "ca.pem"


def _server_side(authority: Path) -> ssl.SSLContext:
    """Make a server certificate that the authority has signed."""
    folder = authority.parent
    (folder / "name.ext").write_text("subjectAltName=IP:127.0.0.1\n", "utf-8")
    subject = ["-subj", "/CN=127.0.0.1", "-keyout", "s.key", "-out", "s.csr"]
    _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", *subject)
    signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "name.ext"]
    _openssl(folder, "x509", "-req", "-in", "s.csr", *signer, "-days", "2", "-out", "s.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "s.pem", folder / "s.key")
    return context


@pytest.fixture
def secure(wheel, tmp_path):
    """Serve the wheel over TLS; give the address and the certificate of its authority."""
    if not OPENSSL:
        pytest.skip("there is no openssl to make certificates with")
    authority = _authority(tmp_path / "zertifikate é")
    with LocalIndex([wheel]) as index:
        server = index._server
        server.socket = _server_side(authority).wrap_socket(server.socket, server_side=True)
        yield index.url.replace("http://", "https://"), authority


def test_an_own_certificate_is_trusted(install, secure):
    url, authority = secure
    assert install(Settings(index_url=url, certificates=str(authority))).is_file()


def test_without_the_right_certificate_the_error_names_it(install, secure):
    url, _ = secure
    with pytest.raises(ToolFailed) as caught:
        install(Settings(index_url=url, certificates="system"))
    assert "certificate" in caught.value.message
    assert "certificates" in caught.value.hint


def test_the_setting_wins_over_the_users_certificates(install, secure, tmp_path, monkeypatch):
    url, authority = secure
    other = str(_authority(tmp_path / "another"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with pytest.raises(ToolFailed) as caught:
        install(Settings(index_url=url, certificates=other))
    assert "certificate" in caught.value.message
    assert install(Settings(index_url=url)).is_file()


def test_a_certificate_that_is_gone_stops_before_the_network(install, tmp_path, wheel):
    gone = tmp_path / "ca.pem"
    with LocalIndex([wheel]) as index, pytest.raises(SettingsError) as caught:
        install(Settings(index_url=index.url, certificates=str(gone)))
    assert str(gone) in caught.value.message
    assert not index.requests


# ---- interpreters -------------------------------------------------------------------------------


def _managed(data: DataFolder) -> Path:
    """Lay out an interpreter where uv looks for those that it manages; return its folder."""
    version = ".".join(map(str, sys.version_info[:3]))
    folder = data.python / f"cpython-{version}-linux-x86_64-gnu" / "bin"
    folder.mkdir(parents=True)
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (folder / name).symlink_to(base_python().resolve())
    return folder


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="lays out uv's folder for Linux")


@linux_only
def test_the_python_source_is_obeyed(data_folder, tmp_path):
    data = DataFolder(data_folder)
    wanted = f"{sys.version_info[0]}.{sys.version_info[1]}"
    offline = {"offline": True}
    assert Uv(data, Settings(python_source="system", **offline)).find_python(wanted)
    assert not Uv(data, Settings(python_source="managed", **offline)).find_python(wanted)
    folder = _managed(data)
    system = Uv(data, Settings(python_source="system", **offline)).find_python(wanted)
    assert system
    assert data.python not in system.parents
    managed = Uv(data, Settings(python_source="managed", **offline))
    managed.make_venv(tmp_path / ".venv", wanted)
    assert venv_base(tmp_path / ".venv") == folder


def test_a_missing_python_comes_from_the_mirror(data_folder, tmp_path, wheel):
    with LocalIndex([wheel]) as mirror:
        chosen = Settings(python_source="managed", python_mirror=f"http://{mirror.host}/pythons")
        with pytest.raises(ToolFailed):
            Uv(DataFolder(data_folder), chosen).make_venv(tmp_path / ".venv", "3.12")
        assert any(path.startswith("/pythons/") for path in mirror.requests)


def test_with_python_source_system_nothing_is_downloaded(data_folder, tmp_path, wheel):
    with LocalIndex([wheel]) as mirror:
        chosen = Settings(python_source="system", python_mirror=f"http://{mirror.host}/pythons")
        with pytest.raises(ToolFailed):
            Uv(DataFolder(data_folder), chosen).make_venv(tmp_path / ".venv", "3.12.0")
        assert not mirror.requests


def test_a_mirror_can_be_a_folder(tmp_path):
    chosen = Settings(python_mirror=str(tmp_path / "pythons é"))
    address = network.environment(chosen)["UV_PYTHON_INSTALL_MIRROR"]
    assert address == (tmp_path / "pythons é").as_uri()
