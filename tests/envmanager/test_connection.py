"""The connection check: real scripts in real processes, with the link that a test has broken."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time

import pytest

from envmanager import connection, nodes
from envmanager.cli import main
from envmanager.connection import LINKS, Node, sample_frames
from envmanager.data.settings import Settings
from envmanager.errors import BadInput, Cancelled
from envmanager.events import CancelToken, Stage
from ga3_nodes import records
from tests.lab_module import (
    classic_installed,  # noqa: F401
    publish_lab,
    write_lab,
)

# The environment of the tests stands for the Python of an NIS: it has numpy, and is asked for it.
NIS_PYTHON = Settings(nis_python=sys.prefix)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the Python of NIS is faked")


@pytest.fixture
def lab(data_folder):
    return publish_lab(data_folder)


def run(data, module, *, function="segment", nis=6, script="", values=None, **options):
    values = values or {}
    script = script or nodes.script(module, values, function=function, nis=nis)
    told, stages = [], []
    links = connection.check(
        data,
        NIS_PYTHON,
        Node(module, script, values, function, nis),
        tell=told.append,
        report=lambda event: stages.append(event.name) if isinstance(event, Stage) else None,
        **options,
    )
    assert told == links
    names = [link.name for link in links]
    assert [name for name in stages if name in names] == names
    assert all(link.ok for link in links[:-1])
    return links


@pytest.mark.parametrize("nis", [6, 7])
def test_all_links_of_a_sound_node_hold(data, lab, nis):
    links = run(data, lab, nis=nis)
    assert [link.name for link in links] == list(LINKS)
    assert links[-1].ok, links[-1]
    assert links[-1].message == "labels: 3 objects in 128 x 128 px, int32."
    (worker,) = records.live(data.root)
    assert f"PID {worker[1].pid}" in links[4].message
    assert "NIS-Elements' own Python" in links[3].message
    assert ("inside NIS" if nis == 6 else "out of process") in links[3].message


def test_channels_tables_labels_and_volumes_are_checked_too(data, lab):
    links = run(data, lab, function="measure", nis=7)
    assert links[-1].message == (
        "ratio: a channel of 128 x 128 px, float32; table: a table of 9 rows."
    )


@pytest.mark.parametrize("nis", [6, 7])
def test_a_module_that_computes_in_nis_needs_no_worker(data, lab, nis):
    config = json.loads((data.root / "config.json").read_text("utf-8"))
    folder = config["modules"]["lab"]["dir"]
    (data.root / folder / "overlay").mkdir()
    told = {"runtime": "host", "overlay": f"{folder}/overlay"}
    config["modules"]["lab"] |= {**told, "python_tag": sys.implementation.cache_tag}
    (data.root / "config.json").write_text(json.dumps(config), "utf-8")
    links = run(data, lab, nis=nis)
    assert links[-1].ok, links[-1]
    assert links[-2].message == "It computes in NIS's Python: no other process is needed."
    assert not records.live(data.root)


def test_a_function_that_refuses_grey_gets_rgb(data, lab):
    links = run(data, lab, values={"mode": "rgb"})
    assert (len(links), links[-1].ok) == (len(LINKS), True), links[-1]


def _without_config(root):
    (root / "config.json").unlink()


def _without_client(root):
    config = json.loads((root / "config.json").read_text("utf-8"))
    config["client_dir"] = "client/gone"
    (root / "config.json").write_text(json.dumps(config), "utf-8")


def _damaged_config(root):
    (root / "config.json").write_text("{", "utf-8")


def _without_module(root):
    config = json.loads((root / "config.json").read_text("utf-8"))
    del config["modules"]["lab"]
    (root / "config.json").write_text(json.dumps(config), "utf-8")


def _without_python(root):
    config = json.loads((root / "config.json").read_text("utf-8"))
    config["modules"]["lab"]["python"] = "envs/lab/1/.venv/bin/python"
    (root / "config.json").write_text(json.dumps(config), "utf-8")


def _without_worker(root):
    (root / "envs" / "lab" / "1" / "worker.py").write_text("import nothing_of_that_name\n", "utf-8")


@pytest.mark.parametrize(
    ("harm", "link", "step", "sentence"),
    [
        (_without_config, "config", "install", "Nothing is installed yet"),
        (_without_client, "config", "script", "files that node scripts import are missing"),
        (_damaged_config, "config", "system", "is damaged"),
        (_without_module, "module", "install", "Lab is not installed."),
        (_without_python, "interpreter", "repair", "its Python does not start"),
        (_without_worker, "worker", "repair", "nothing_of_that_name"),
    ],
)
def test_the_broken_link_is_named_with_the_next_step(data, lab, harm, link, step, sentence):
    harm(data.root)
    last = run(data, lab)[-1]
    assert (last.name, last.ok, last.step) == (link, False, step), last
    assert sentence in f"{last.message} {last.hint} {last.details}"
    assert last.message
    assert not last.message.startswith("run:")


def test_missing_weights_are_told_before_anything_starts(data, lab):
    last = run(data, lab, function="model")[-1]
    assert (last.name, last.step) == ("module", "weights")
    assert "cyto3 is not downloaded" in last.message
    assert not records.live(data.root)


@pytest.mark.parametrize(
    ("nis", "mode", "step", "sentence"),
    [
        (6, "refuse", "try", "The image is too dark."),
        (7, "crash", "repair", "crashed during the call"),
    ],
)
def test_what_goes_wrong_in_the_call_is_the_last_link(data, lab, nis, mode, step, sentence):
    last = run(data, lab, nis=nis, values={"mode": mode})[-1]
    assert (last.name, last.ok, last.step) == ("result", False, step), last
    assert sentence in last.message


@pytest.mark.parametrize(
    ("nis", "change", "sentence"),
    [
        (6, lambda text: text.replace("import limnode\n", "import limnode as lim\n"), "NIS wants"),
        (7, lambda text: "1 / 0\n" + text, "ZeroDivisionError"),
        (7, lambda text: text.replace("    return None  #", "    raise KeyError  #"), "KeyError"),
    ],
)
def test_a_script_that_does_not_load_is_told(data, lab, nis, change, sentence):
    script = change(nodes.script(lab, {}, nis=nis))
    last = run(data, lab, nis=nis, script=script)[-1]
    assert (last.name, last.ok, last.step) == ("script", False, "script"), last
    assert sentence in f"{last.message}{last.details}"


def test_a_value_that_was_changed_beyond_its_limits_is_told(data, lab):
    script = nodes.script(lab, {}).replace('"threshold": 2000.0', '"threshold": -1.0')
    last = run(data, lab, script=script)[-1]
    assert (last.name, last.ok, last.step) == ("result", False, "try")
    assert "'threshold' cannot be -1.0" in last.message


def test_cancel_ends_a_call_that_computes(data, lab):
    token, seen = CancelToken(), []

    def wait_and_cancel() -> None:
        while "result" not in seen:
            time.sleep(0.05)
        token.cancel()

    thread = threading.Thread(target=wait_and_cancel)
    thread.start()
    script = nodes.script(lab, {"mode": "sleep"}, nis=7)
    started = time.monotonic()
    with pytest.raises(Cancelled):
        connection.check(
            data,
            NIS_PYTHON,
            Node(lab, script, {"mode": "sleep"}, nis=7),
            tell=lambda _link: None,
            report=lambda event: seen.append(getattr(event, "name", "")),
            cancel=token,
        )
    thread.join()
    assert time.monotonic() - started < 40  # the call would take 60 s


def test_the_command_prints_the_links_and_json_holds_them(data, lab, capsys, monkeypatch, tmp_path):
    (data.root / "settings.toml").write_text(f"nis_python = '{sys.prefix}'\n", "utf-8")
    assert main(["check-node", "lab", "--nis", "7"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("ok       ") == len(LINKS)
    assert printed.splitlines()[-1] == "The node works."
    changed = tmp_path / "node é.py"
    changed.write_text("import limnode\nprint(1)\n", "utf-8")
    code = main(["check-node", "lab", "--script", str(changed), "--json"])
    told = json.loads(capsys.readouterr().out)["data"]
    assert (code, told["works"]) == (1, False)
    assert [link["ok"] for link in told["links"]] == [True, True, True, False]
    assert main(["check-node", "lab", "--script", str(tmp_path / "none.py")]) == 2


def test_sample_frames_are_what_each_input_takes(data_folder):
    module = write_lab(data_folder)
    grey, labels = sample_frames(module.functions["measure"])
    assert (grey.shape, grey.dtype.name) == ((6, 128, 128, 1), "uint16")
    assert (labels.shape, labels.dtype.name, labels.max()) == ((6, 128, 128, 1), "int32", 9)
    (color,) = sample_frames(module.functions["segment"], in_color=True)
    assert (color.shape, color.dtype.name) == ((1, 128, 128, 3), "uint8")


# ---- what a node can say of itself -------------------------------------------------------------


def test_name_colour_and_types_reach_the_script(data_folder):
    module = write_lab(data_folder)
    looks = {"name": 'My "cells" ü', "color": "#0a0B0c"}
    text = nodes.script(module, {}, binary="uint8", **looks)
    assert 'NAME = "My \\"cells\\" ü"' in text
    assert 'out[0].makeNew(NAME, "#0a0B0c").makeUInt8()' in text
    assert 'title = "Lab"' in text  # errors name the module, not the node
    text = nodes.script(module, {}, function="measure", channel="uint16", **looks)
    assert 'makeNewMono(NAME + " ratio", "#0a0B0c").makeUInt16()' in text


@pytest.mark.parametrize("looks", [{"name": "two\nlines"}, {"color": "red"}, {"color": "#12345"}])
def test_a_name_or_colour_that_nis_could_not_take_is_refused(data_folder, looks):
    with pytest.raises(BadInput):
        nodes.script(write_lab(data_folder), {}, **looks)


@pytest.mark.parametrize(
    ("version", "signature"),
    [("6.20.01", 6), ("6.10", 6), ("7.0.1", 7), ("7.10", 7), ("2.1", 7), ("5.42", 6), ("", 6)],
)
def test_the_installed_nis_decides_the_signature(version, signature):
    assert nodes.signature(version) == signature


@pytest.mark.slow
def test_classic_in_a_python_as_nis_has_it(data, classic):
    for nis, values in ((6, {}), (7, {"channel": "hematoxylin"})):
        node = Node(classic, nodes.script(classic, values, nis=nis), values, nis=nis)
        links = connection.check(data, Settings(), node, tell=lambda _link: None)
        assert links[-1].message == "labels: 9 objects in 128 x 128 px, int32.", links[-1]
        assert "as NIS-Elements has it" in links[3].message
    shutil.rmtree(data.root / "envs" / "classic" / "1" / ".venv")
    links = connection.check(data, Settings(), node, tell=lambda _link: None)
    assert (links[-1].name, links[-1].step) == ("interpreter", "repair")
