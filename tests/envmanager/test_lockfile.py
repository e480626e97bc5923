"""Every file that an install may fetch stands in the lock with its hash, else it is refused."""

from __future__ import annotations

import pytest

from envmanager.errors import InstallFailed
from envmanager.packages import lockfile

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
LOCK = f"""\
Ruamel.Yaml==1.0 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
    # via nothing
numpy==2.0 ; python_full_version < '3.12' \\
    --hash=sha256:{C}
"""


def _pylock(tmp_path, *packages: str):
    path = tmp_path / "pylock.toml"
    path.write_text('lock-version = "1.0"\n' + "\n".join(packages), "utf-8")
    return path


def _package(name, version, *hashes):
    wheels = ", ".join(f'{{url = "x", size = 5, hashes = {{sha256 = "{h}"}}}}' for h in hashes)
    return f'[[packages]]\nname = "{name}"\nversion = "{version}"\nwheels = [{wheels}]\n'


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK, "utf-8")
    return path


def test_files_that_the_lock_knows_pass(lock, tmp_path):
    pylock = _pylock(tmp_path, _package("ruamel-yaml", "1.0", A, B), _package("numpy", "2.0", C))
    wheels = lockfile.wheels(pylock)
    lockfile.check(wheels, [lock])
    assert [(w.package, w.version, w.size) for w in wheels] == [
        ("ruamel-yaml", "1.0", 5),
        ("numpy", "2.0", 5),
    ]


@pytest.mark.parametrize(
    "package",
    [
        pytest.param(_package("numpy", "2.0", A), id="hash-of-another-package"),
        pytest.param(_package("numpy", "2.1", C), id="other-version"),
        pytest.param(_package("numpy", "2.0", C, A), id="one-of-two-unknown"),
        pytest.param(_package("numpy", "2.0"), id="no-files"),
        pytest.param(_package("evil", "1.0", A), id="unknown-package"),
        pytest.param(
            '[[packages]]\nname = "numpy"\nversion = "2.0"\nwheels = [{url = "x"}]', id="no-hash"
        ),
        pytest.param(
            f'{_package("numpy", "2.0", C)}sdist = {{url = "x", hashes = {{sha256 = "{A}"}}}}',
            id="source-archive-unknown",
        ),
        pytest.param(
            '[[packages]]\nname = "numpy"\nversion = "2.0"\nvcs = {url = "x"}', id="from-git"
        ),
    ],
)
def test_a_file_that_the_lock_does_not_know_is_refused(lock, tmp_path, package):
    with pytest.raises(InstallFailed) as caught:
        lockfile.check(lockfile.wheels(_pylock(tmp_path, package)), [lock])
    assert caught.value.code == "hash_mismatch"
