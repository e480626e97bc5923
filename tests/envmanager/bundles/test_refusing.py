"""What is no honest bundle for this computer is refused by one sentence, and leaves nothing."""

from __future__ import annotations

import json
import stat
import warnings
import zipfile

import pytest

from envmanager.bundles import installing, reading
from envmanager.bundles.target import here
from envmanager.errors import BadInput, CatalogError, GA3EnvError, InstallFailed
from envmanager.fetching.hashing import hash_of
from envmanager.sharing import sealed
from tests.envmanager.bundles.conftest import forged, left_in, repacked
from tests.wheels import make_wheel

pytestmark = pytest.mark.skipif(not here(), reason="bundles are for 64-bit Windows and Linux PCs")


def _refused(engine, path, code, words="", kind=BadInput):
    with pytest.raises(kind) as caught:
        installing.install(engine, path)
    assert caught.value.code == code, caught.value
    assert words in caught.value.message
    assert caught.value.hint
    assert left_in(engine.data) == []


def _other_wheel(members):
    name = next(name for name in members if "mini_core" in name)
    members[name] = members[name][:-1] + b"?"


ALTERED = {
    "a worker": lambda m: m.update({"modules/mini/worker.py": m["modules/mini/worker.py"] + b"#"}),
    "a wheel of the same size": _other_wheel,
    "weights": lambda m: m.update({"weights/mini/small.bin": b"others"}),
    "a file put in": lambda m: m.update({"modules/mini/conftest.py": b"import os"}),
    "a file taken out": lambda m: {n: c for n, c in m.items() if "mini_core" not in n},
    "the manifest": lambda m: m.update(
        {sealed.MANIFEST: m[sealed.MANIFEST].replace(b"trained on", b"learned on")}
    ),
}


@pytest.mark.parametrize("edit", ALTERED.values(), ids=ALTERED.keys())
def test_an_altered_bundle(light, engine, tmp_path, edit):
    changed = repacked(light, tmp_path, edit)
    _refused(engine, changed, "file_altered", "changed.ga3bundle")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9999])
def test_a_truncated_bundle(light, engine, tmp_path, share):
    content = light.read_bytes()
    cut = tmp_path / "cut.ga3bundle"
    cut.write_bytes(content[: int(share * len(content))])
    _refused(engine, cut, "file_damaged")


def test_no_bundle_at_all(engine, tmp_path):
    _refused(engine, tmp_path / "none.ga3bundle", "file_unreadable")
    other = tmp_path / "other.ga3bundle"
    with zipfile.ZipFile(other, "w") as made:
        made.writestr("readme.txt", "hello")
    _refused(engine, other, "file_refused", "no bundle")


def test_the_file_of_a_module_has_another_command(light, engine, tmp_path):
    changed = forged(light, tmp_path, lambda values, _: values.update(format="ga3-module"))
    with pytest.raises(BadInput, match="it is a 'ga3-module'") as caught:
        installing.install(engine, changed)
    assert "./run add-module FILE" in caught.value.hint


UNSAFE = {
    "a full path": "/etc/cron.d/x",
    "a drive": "C:/Windows/x.dll",
    "out of the folder": "wheels/../../x.py",
    "a backslash": "wheels\\..\\x.py",
    "capitals": "MODULES/mini/worker.py",
    "a device": "modules/mini/nul",
    "in a file": "modules/mini/worker.py/x",
}


@pytest.mark.parametrize("name", UNSAFE.values(), ids=UNSAFE.keys())
def test_a_name_that_must_not_be_unpacked(light, engine, tmp_path, name):
    changed = forged(light, tmp_path, lambda values, members: members.update({name: b"x"}))
    _refused(engine, changed, "file_unsafe")


def _with_member(bundle, folder, info, content=b"x"):
    changed = folder / "changed.ga3bundle"
    changed.write_bytes(bundle.read_bytes())
    with warnings.catch_warnings(), zipfile.ZipFile(changed, "a") as made:
        warnings.simplefilter("ignore")  # a name twice
        made.writestr(info, content)
    return changed


def test_links_and_names_twice(light, engine, tmp_path):
    link = zipfile.ZipInfo("modules/mini/link.py")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    _refused(engine, _with_member(light, tmp_path, link, b"/etc/passwd"), "file_unsafe", "link")
    twice = zipfile.ZipInfo("modules/mini/worker.py")
    _refused(engine, _with_member(light, tmp_path, twice), "file_unsafe", "twice")


def test_a_bomb(light, engine, tmp_path):
    bomb = zipfile.ZipInfo("modules/mini/data.bin")
    bomb.compress_type = zipfile.ZIP_DEFLATED
    changed = _with_member(light, tmp_path, bomb, bytes(100 << 20))
    assert changed.stat().st_size < light.stat().st_size + (1 << 20)
    _refused(engine, changed, "file_unsafe", "MB when unpacked")


# ---- those who forge can hash too ---------------------------------------------------------------


def _of(**changed):
    return lambda values, members: values.update(changed)


def _unused_wheel(values, members):
    members["wheels/0123456789abcdef/evil-1.0-py3-none-any.whl"] = b"x"


def _address_only(values, members):
    text = members["locks/mini.toml"].decode()
    kept = [line for line in text.splitlines() if "sha256" not in line]
    members["locks/mini.toml"] = "\n".join(kept).encode()


def _address_out_of_the_folder(values, members):
    (old,) = [name for name in members if "mini_core" in name]
    name = old.rpartition("/")[2]
    text = members["locks/mini.toml"].decode().replace(f"/{name}", f"/..%2F..%2F{name}")
    members["locks/mini.toml"] = text.encode()


def _folder_beside_the_wheel(values, members):
    text = members["locks/mini.toml"].decode()
    text = text.replace("[[packages]]", '[[packages]]\ndirectory = { path = "/tmp/evil" }', 1)
    members["locks/mini.toml"] = text.encode()


def _package_twice(values, members):
    text = members["locks/mini.toml"].decode()
    head, first, *rest = text.partition("[[packages]]")[0], *text.split("[[packages]]")[1:]
    members["locks/mini.toml"] = "[[packages]]".join([head, first, first, *rest]).encode()


def _nested(values, members):
    members["locks/mini.toml"] = b"x = " + b"[" * 20_000


def _two_sets_in_one_folder(values, members):
    """As they would be on Windows."""
    sets = values["modules"]["mini"]["weights"]
    sets["Mine"] = {**sets["mine"], "path": "custom/Mine/a", "files": ["custom/Mine/a"]}
    members["weights/mini/custom/Mine/a"] = b"x"


def _custom_is_known(values, members):
    values["modules"]["mini"]["weights"]["small"]["custom"] = True


def _listing(values, members):
    members["weights/mini/weights.json"] = b"{}"
    values["modules"]["mini"]["weights"]["small"]["files"].append("weights.json")


FORGED = {
    "another platform": (
        _of(platform="windows" if here() == "linux" else "linux"),
        ("other_platform", BadInput),
    ),
    "an unknown platform": (_of(platform="beos"), ("file_damaged", BadInput)),
    "a newer format": (_of(schema=2), ("file_too_new", BadInput)),
    "another kind": (_of(format="ga3-module"), ("file_refused", BadInput)),
    "a Python that is not here": (_of(python="3.14"), ("python_missing", InstallFailed)),
    "no modules": (_of(modules={}), ("file_damaged", BadInput)),
    "modules as a list": (_of(modules=["mini"]), ("file_damaged", BadInput)),
    "a wheel that nobody asks for": (_unused_wheel, ("file_altered", BadInput)),
    "a wheel without its sha256": (_address_only, ("file_altered", BadInput)),
    "an address that leads out": (_address_out_of_the_folder, ("file_altered", BadInput)),
    "a folder beside a wheel": (_folder_beside_the_wheel, ("file_altered", BadInput)),
    "a package twice": (_package_twice, ("file_altered", BadInput)),
    "a lock that is nested deeply": (_nested, ("file_altered", BadInput)),
    "two sets in one folder": (_two_sets_in_one_folder, ("file_unsafe", BadInput)),
    "known weights as one's own": (_custom_is_known, ("file_damaged", BadInput)),
    "a listing of weights": (_listing, ("file_damaged", BadInput)),
    "a broken module": (
        lambda values, members: members.update({"modules/mini/worker.py": b"def ("}),
        ("module_invalid", CatalogError),
    ),
}


@pytest.mark.parametrize(("edit", "expected"), FORGED.values(), ids=FORGED.keys())
def test_a_forged_bundle(light, engine, tmp_path, edit, expected):
    _refused(engine, forged(light, tmp_path, edit), expected[0], kind=expected[1])


def test_a_wheel_that_the_lock_does_not_know(light, engine, tmp_path):
    """Its sha256 is right everywhere but in the module's own ``requirements.lock``."""
    evil = make_wheel(tmp_path, "mini-core", "1.0", {"mini_core/__init__.py": "NUMBER = 666"})

    def edit(values, members):
        (old,) = [name for name in members if "mini_core" in name]
        digest = values["files"][old]["sha256"]
        new = hash_of(evil.read_bytes()).sha256
        del members[old]
        members[f"wheels/{new[:16]}/{evil.name}"] = evil.read_bytes()
        text = members["locks/mini.toml"].decode().replace(digest, new)
        members["locks/mini.toml"] = text.encode()

    _refused(engine, forged(light, tmp_path, edit), "hash_mismatch", kind=InstallFailed)


def test_info_refuses_the_same_without_installing(light, tmp_path):
    newer = forged(light, tmp_path, _of(schema=2))
    with pytest.raises(GA3EnvError) as caught:
        reading.look(newer)
    assert caught.value.code == "file_too_new"
    changed = repacked(light, tmp_path, _other_wheel)
    assert json.dumps(reading.look(changed).as_dict())  # the bytes are compared by --verify only
    with pytest.raises(BadInput, match="other bytes"), reading.opened(changed):
        pass
