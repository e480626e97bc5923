"""The download of one file, from a real server that goes wrong in every way that servers do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from email.utils import formatdate

import psutil
import pytest

from envmanager.data.settings import Settings
from envmanager.errors import Cancelled, DiskFull, DownloadFailed
from envmanager.events import CancelToken
from envmanager.fetching.connection import Connections, Silence
from envmanager.fetching.download import Download, Patience, Remote
from tests import programs
from tests.file_server import Fault, FileServer, Served

CONTENT = os.urandom(700_001)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = os.urandom(700_001)
QUICK = Patience(waits_s=(0.05, 0.05, 0.05))


@pytest.fixture(autouse=True)
def plain_network(monkeypatch):
    """Leave nothing of this computer's own proxies and certificates."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


def download(url, folder, *, settings=None, silence=None, size=0, sha256="", **options):
    connections = Connections(settings or Settings(), silence or Silence())
    options = {"patience": QUICK, **options}
    return Download(Remote(url, size, sha256), folder / "weights", connections, **options)


def left(folder):
    return sorted(path.name for path in folder.glob("*weights*"))


def test_a_file_is_downloaded_whole_with_its_progress(file_server, tmp_path):
    told = []
    url = file_server.put("w", CONTENT)
    found = download(url, tmp_path, on_bytes=lambda *figures: told.append(figures)).run()
    assert (found.size, found.sha256) == (len(CONTENT), SHA256)
    assert (tmp_path / "weights").read_bytes() == CONTENT
    assert left(tmp_path) == ["weights"]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [one[0] for one in told] == sorted(one[0] for one in told)


@pytest.mark.parametrize("how", ["drop_after", "reset_after"])
def test_a_dropped_connection_is_resumed_where_it_broke_off(file_server, tmp_path, how):
    url = file_server.put("w", CONTENT, Fault(**{how: 300_000}), Fault(drop_after=100_000))
    told = []
    assert download(url, tmp_path, on_trouble=told.append).run().sha256 == SHA256
    first, second, third = file_server.asked
    assert first.range == ""
    at = int(second.range.removeprefix("bytes=").removesuffix("-"))
    # A reset takes with it what has come and was not read yet.
    assert at == 300_000 if how == "drop_after" else at <= 300_000
    assert second.if_range == third.if_range == file_server.files["/w"].etag
    assert third.range == f"bytes={at + 100_000}-"
    assert file_server.sent("w")[1:] == [100_000, len(CONTENT) - at - 100_000]
    assert len(told) == 2
    assert "broke off" in told[0]


def test_a_file_that_has_changed_between_two_tries_begins_anew(file_server, tmp_path):
    url = file_server.put("w", CONTENT, Fault(drop_after=300_000))
    with pytest.raises(DownloadFailed):
        download(url, tmp_path, patience=Patience(())).run()
    assert left(tmp_path) == ["weights.part", "weights.part.json"]
    file_server.put("w", OTHER)
    download(url, tmp_path).run()
    assert (tmp_path / "weights").read_bytes() == OTHER
    assert file_server.asked[-1].range == "bytes=300000-"
    assert file_server.sent("w")[-1] == len(OTHER)


@pytest.mark.parametrize("options", [{"ranges": False}, {"etag": ""}, {"etag": 'W/"weak"'}])
def test_what_a_server_cannot_resume_begins_anew(file_server, tmp_path, options):
    url = file_server.put("w", CONTENT, Fault(drop_after=300_000), **options)
    assert download(url, tmp_path).run().sha256 == SHA256
    assert file_server.sent("w") == [300_000, len(CONTENT)]
    asked = file_server.asked[-1].range
    assert asked == ("bytes=300000-" if "ranges" in options else "")


def test_a_part_of_another_place_than_asked_for_is_not_taken(file_server, tmp_path):
    wrong = Fault(headers={"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"})
    url = file_server.put("w", CONTENT, Fault(drop_after=300_000), wrong)
    assert download(url, tmp_path).run().sha256 == SHA256
    assert file_server.asked[-1].range == ""


def test_a_part_that_is_complete_is_not_downloaded_again(file_server, tmp_path):
    url = file_server.put("w", CONTENT)
    download(url, tmp_path).run()
    part = tmp_path / "weights.part"
    (tmp_path / "weights").rename(part)  # as if it was killed just before the end
    note = {"url": url, "etag": file_server.files["/w"].etag, "length": len(CONTENT)}
    part.with_name("weights.part.json").write_text(json.dumps(note))
    assert download(url, tmp_path).run().sha256 == SHA256
    assert file_server.sent("w") == [len(CONTENT), 0]
    assert left(tmp_path) == ["weights"]


def test_a_wrong_hash_leaves_nothing_in_use(file_server, tmp_path):
    url = file_server.put("w", CONTENT)
    (tmp_path / "weights").write_bytes(b"the old ones")
    with pytest.raises(DownloadFailed, match="not the file that was expected") as caught:
        download(url, tmp_path, sha256="0" * 64).run()
    assert caught.value.code == "download_sha256"
    assert (tmp_path / "weights").read_bytes() == b"the old ones"
    assert left(tmp_path) == ["weights"]


def test_the_right_file_that_is_there_is_not_downloaded(file_server, tmp_path):
    url = file_server.put("w", CONTENT)
    (tmp_path / "weights").write_bytes(CONTENT)
    assert download(url, tmp_path, sha256=SHA256).run().sha256 == SHA256
    assert file_server.asked == []


def test_another_length_than_expected_is_told_before_the_first_byte(file_server, tmp_path):
    url = file_server.put("w", CONTENT)
    with pytest.raises(DownloadFailed, match="700,001 bytes and not 5") as caught:
        download(url, tmp_path, size=5).run()
    assert caught.value.code == "download_size"
    assert left(tmp_path) == []


def test_a_length_that_lies_is_no_success(file_server, tmp_path):
    lies = [Fault(extra=1000)] * 9
    url = file_server.put("w", CONTENT, *lies, etag="")
    with pytest.raises(DownloadFailed):
        download(url, tmp_path).run()
    assert not (tmp_path / "weights").exists()
    file_server.put("w", CONTENT, Fault(extra=-1000))  # all that is told comes, and is too short
    with pytest.raises(DownloadFailed) as caught:
        download(url, tmp_path, size=len(CONTENT)).run()
    assert caught.value.code == "download_size"


@pytest.mark.parametrize("length", ["9" * 5000, "\u0663\u0663", "-1", "many"])
def test_a_length_that_is_no_number_of_bytes_is_as_none(file_server, tmp_path, length):
    faults = [Fault(headers={"Content-Length": length.encode().decode("latin-1")}, extra=1)] * 9
    url = file_server.put("w", CONTENT, *faults)
    assert download(url, tmp_path, sha256=SHA256).run().sha256 == SHA256


@pytest.mark.parametrize("after", ["9" * 400, "Mon, 01 Jan 1900 00:00:00 -0000", "soon", "\u00b2"])
def test_a_server_that_asks_for_an_impossible_wait(file_server, tmp_path, after):
    busy = Fault(status=503, headers={"Retry-After": after})
    url = file_server.put("w", CONTENT, *[busy] * 9)
    with pytest.raises(DownloadFailed, match="answered 503"):
        download(url, tmp_path).run()


def test_the_next_step_is_that_of_what_is_fetched(file_server, tmp_path):
    with pytest.raises(DownloadFailed) as caught:
        download(f"{file_server.url}/none", tmp_path, advice="Ask the librarian.").run()
    assert caught.value.hint == "Ask the librarian."
    url = file_server.put("w", CONTENT)
    with pytest.raises(DownloadFailed) as caught:
        download(url, tmp_path, size=5, advice="Ask the librarian.").run()
    assert "damaged on its way" in caught.value.hint  # this says more


def test_a_body_without_a_length_is_taken_to_its_end(file_server, tmp_path):
    url = file_server.put("w", CONTENT, Fault(drop_after=300_000), chunked=True)
    assert download(url, tmp_path).run().sha256 == SHA256
    assert file_server.asked[-1].range == "bytes=300000-"


@pytest.mark.parametrize(
    ("status", "code"), [(404, "download_not_found"), (403, "download_forbidden")]
)
def test_a_refusal_is_one_sentence_at_once(file_server, tmp_path, status, code):
    url = file_server.put("w", CONTENT, Fault(status=status))
    with pytest.raises(DownloadFailed, match=r"The server of http://127.0.0.1:\d+/w") as caught:
        download(url, tmp_path).run()
    assert caught.value.code == code
    assert len(file_server.asked) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_is_down_for_a_moment_is_asked_again(file_server, tmp_path, status):
    url = file_server.put("w", CONTENT, Fault(status=status))
    assert download(url, tmp_path).run().sha256 == SHA256
    assert len(file_server.asked) == 2


def test_patience_ends(file_server, tmp_path):
    url = file_server.put("w", CONTENT, *[Fault(status=500)] * 9)
    with pytest.raises(DownloadFailed, match="the server answered 500"):
        download(url, tmp_path).run()
    assert len(file_server.asked) == 4


@pytest.mark.parametrize("wait", ["1", "date"])
def test_a_server_that_asks_to_wait_is_obeyed(file_server, tmp_path, wait):
    text = formatdate(time.time() + 2, usegmt=True) if wait == "date" else wait
    url = file_server.put("w", CONTENT, Fault(status=429, headers={"Retry-After": text}))
    started = time.monotonic()
    assert download(url, tmp_path).run().sha256 == SHA256
    assert time.monotonic() - started > 0.9


def test_a_server_that_asks_to_wait_for_long_is_told(file_server, tmp_path):
    url = file_server.put("w", CONTENT, Fault(status=503, headers={"Retry-After": "7200"}))
    with pytest.raises(DownloadFailed, match="asks to wait 7200 s"):
        download(url, tmp_path).run()


def test_silence_ends_a_try_and_the_next_goes_on(file_server, tmp_path):
    url = file_server.put("w", CONTENT, Fault(stall_after=300_000))
    told = []
    silence = Silence(read_s=0.5)
    found = download(url, tmp_path, silence=silence, on_trouble=told.append).run()
    assert found.sha256 == SHA256
    assert "silent" in told[0]
    assert file_server.asked[-1].range == "bytes=300000-"


def test_a_slow_server_is_no_silent_one(file_server, tmp_path):
    url = file_server.put("w", CONTENT[:100_000], Fault(bytes_per_s=60_000))
    found = download(url, tmp_path, silence=Silence(read_s=0.7)).run()
    assert found.size == 100_000
    assert len(file_server.asked) == 1


def test_redirects_lead_on_and_a_resume_starts_at_their_beginning(file_server, tmp_path):
    url = file_server.put("first", b"", *[Fault(status=302, headers={"Location": "/w"})] * 2)
    file_server.put("w", CONTENT, Fault(drop_after=300_000))
    assert download(url, tmp_path).run().sha256 == SHA256
    assert [asked.path for asked in file_server.asked] == ["/first", "/w"] * 2
    assert file_server.asked[-1].range == "bytes=300000-"


@pytest.mark.parametrize("target", ["/w", "http://models.example.org/w", "ftp://127.0.0.1/w"])
def test_redirects_that_lead_astray_are_refused(file_server, tmp_path, target):
    url = file_server.put("w", CONTENT, *[Fault(status=302, headers={"Location": target})] * 30)
    with pytest.raises(DownloadFailed) as caught:
        download(url, tmp_path).run()
    assert caught.value.code == "download_address"


def test_nobody_listens(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/w"
        with pytest.raises(DownloadFailed, match="cannot be reached"):
            download(url, tmp_path).run()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return a certificate that its own server vouches for, and the server's side of it."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("zertifikat é")
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    words += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


@pytest.mark.parametrize("chosen", ["", "system"])
def test_a_server_that_nobody_vouches_for_is_refused(tmp_path, certificate, chosen):
    settings = Settings(certificates=chosen)
    with FileServer(certificate[1]) as server, pytest.raises(DownloadFailed) as caught:
        download(server.put("w", CONTENT), tmp_path, settings=settings).run()
    assert caught.value.code == "certificate_untrusted"
    assert server.asked == []


def test_the_setting_certificates_is_what_a_server_is_verified_by(tmp_path, certificate):
    settings = Settings(certificates=str(certificate[0]))
    with FileServer(certificate[1]) as server:
        url = server.put("w", CONTENT, Fault(drop_after=300_000))
        assert download(url, tmp_path, settings=settings).run().sha256 == SHA256


def test_the_setting_proxy_is_used_but_for_what_no_proxy_names(file_server, tmp_path, monkeypatch):
    settings = Settings(proxy=file_server.url)
    url = "http://127.0.0.2:9/w"  # nobody listens there: only a proxy can answer
    file_server.files[url] = Served(CONTENT)
    assert download(url, tmp_path, settings=settings).run().sha256 == SHA256
    assert file_server.asked[0].path == url
    monkeypatch.setenv("NO_PROXY", "127.0.0.2")
    with pytest.raises(DownloadFailed):
        download(url, tmp_path, settings=settings).run()


def test_the_proxy_of_the_users_shell_is_used(file_server, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", file_server.url)
    url = "http://127.0.0.2:9/w"
    file_server.files[url] = Served(CONTENT)
    assert download(url, tmp_path).run().sha256 == SHA256


def test_offline_means_offline(file_server, tmp_path):
    url = file_server.put("w", CONTENT)
    with pytest.raises(DownloadFailed) as caught:
        download(url, tmp_path, settings=Settings(offline=True)).run()
    assert caught.value.code == "offline"
    assert file_server.asked == []


@pytest.mark.parametrize("fault", [Fault(stall_after=300_000), Fault(stall_after=0)])
def test_a_cancel_ends_a_download_at_once_and_the_next_goes_on(file_server, tmp_path, fault):
    url, cancel = file_server.put("w", CONTENT, fault), CancelToken()
    threading.Timer(0.3, cancel.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        download(url, tmp_path, cancel=cancel).run()
    assert time.monotonic() - started < 2.3
    assert download(url, tmp_path).run().sha256 == SHA256
    if fault.stall_after:
        assert file_server.asked[-1].range == f"bytes={fault.stall_after}-"


def test_a_cancel_ends_a_wait_for_the_next_try(file_server, tmp_path):
    url, cancel = file_server.put("w", CONTENT, Fault(status=500)), CancelToken()
    threading.Timer(0.3, cancel.cancel).start()
    with pytest.raises(Cancelled):
        download(url, tmp_path, cancel=cancel, patience=Patience((60.0,))).run()


PROGRAM = """
import sys
from pathlib import Path
from envmanager.data.settings import Settings
from envmanager.fetching.connection import Connections
from envmanager.fetching.download import Download, Remote
remote = Remote(sys.argv[1], 0, sys.argv[3])
print(Download(remote, Path(sys.argv[2]), Connections(Settings())).run().sha256)
"""


def test_a_killed_download_goes_on_where_it_was(file_server, tmp_path):
    url = file_server.put("w", CONTENT, Fault(stall_after=300_000))
    part = tmp_path / "weights.part"
    program = programs.python(PROGRAM, url, tmp_path / "weights", "")
    try:
        programs.until(lambda: part.exists() and part.stat().st_size == 300_000)
    finally:
        programs.end(program)
    assert download(url, tmp_path).run().sha256 == SHA256
    assert file_server.asked[-1].range == "bytes=300000-"
    assert file_server.sent("w")[-1] == len(CONTENT) - 300_000


def test_the_end_of_a_part_is_not_trusted_after_a_start_of_the_computer(file_server, tmp_path):
    url = file_server.put("w", CONTENT, Fault(drop_after=300_000))
    with pytest.raises(DownloadFailed):
        download(url, tmp_path, patience=Patience(())).run()
    part = tmp_path / "weights.part"
    part.write_bytes(bytes(300_000))  # what a power cut makes of bytes that were not yet on disk
    os.utime(part, (psutil.boot_time() - 10,) * 2)
    assert download(url, tmp_path).run().sha256 == SHA256


def test_two_at_once_download_it_once(file_server, tmp_path):
    url = file_server.put("w", CONTENT, Fault(bytes_per_s=1_500_000))
    place = tmp_path / "weights"
    both = [programs.python(PROGRAM, url, place, SHA256) for _ in range(2)]
    try:
        assert {program.communicate(timeout=60)[0].strip() for program in both} == {SHA256}
    finally:
        for program in both:
            programs.end(program)
    assert sum(file_server.sent("w")) == len(CONTENT)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 400 kB, where that is allowed."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=400k", "ga3-weights", str(folder)]
    if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_full_disk_is_told_as_such(file_server, small_disk, chunked):
    """With a length it is told before the first byte, without one where the disk ends."""
    url = file_server.put("w", CONTENT, chunked=chunked)
    with pytest.raises(DiskFull):
        download(url, small_disk).run()
    assert not (small_disk / "weights").exists()
    came = small_disk / "weights.part"
    assert came.exists() is chunked
    if chunked:
        subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
        before = came.stat().st_size
        assert before > 200_000
        assert download(url, small_disk).run().sha256 == SHA256
        assert file_server.asked[-1].range == f"bytes={before}-"
