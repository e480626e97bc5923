"""What calls, lists and commands make of weights that are there, or are not."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from envmanager import images
from envmanager.cli import main
from envmanager.data.settings import Settings
from envmanager.doctor import checklist
from envmanager.doctor.line import Patient
from envmanager.environments import inventory
from envmanager.errors import BadInput
from envmanager.events import CancelToken
from envmanager.nodes import script
from envmanager.segmentation import Failed, Segmented, segment_files
from envmanager.weights import importing
from envmanager.weights.getting import Getter
from ga3_nodes import client, home, records
from ga3_nodes.errors import WeightsMissing
from tests import support
from tests.envmanager.weights.conftest import CYTO, NUCLEI, SIZE, WORKER

IMAGE = np.zeros((4, 5), np.uint16)


def call(**parameters):
    return client.call("cells", "segment", {"image": IMAGE}, parameters)["labels"].max()


def get(store, *names):
    Getter(store, Settings()).get(names)


def no_worker(store):
    return not list(home.run_dir(store.data.root).glob("*")) and not records.live(store.data.root)


def command(capsys, *words):
    code = main([*map(str, words), "--json"])
    told = json.loads(capsys.readouterr().out)
    return code, told["data"] if told["ok"] else told["error"]


def test_a_call_without_its_weights_fails_at_once_and_starts_no_worker(published):
    with pytest.raises(WeightsMissing) as caught:
        call()
    assert caught.value.message == "Cells's model cyto3 is not downloaded yet."
    assert "Cells > Weights" in caught.value.hint
    assert "./run weights cells get cyto3" in caught.value.hint
    assert caught.value.code == "weights_missing"
    with pytest.raises(WeightsMissing):
        client.call_many("cells", "segment", [{"image": IMAGE}])
    assert no_worker(published)


def test_names_and_paths_reach_the_worker_as_full_paths(published, tmp_path):
    get(published, "cyto3")
    (tmp_path / "own model é").write_bytes(NUCLEI)
    importing.add(published, tmp_path / "own model é", "lab")
    assert call() == call(model="cyto3") == len(CYTO)
    assert call(model="lab") == call(model=str(tmp_path / "own model é")) == len(NUCLEI)
    log = home.log_dir(published.data.root) / "worker-cells.log"
    assert f"{published.folder} {published.folder} 1" in log.read_text("utf-8")


@pytest.mark.parametrize(
    ("value", "code"),
    [("nuclei", "weights_missing"), ("a b", "weights_unknown"), ("", "weights_not_chosen"),
     ("/no/such/file", "weights_not_found"), ("some/where", "weights_not_found")],
)  # fmt: skip
def test_what_cannot_be_is_told_with_what_there_is(published, value, code):
    get(published, "cyto3")
    with pytest.raises((BadInput, WeightsMissing)) as caught:
        call(model=value)
    assert caught.value.code == code
    if code == "weights_unknown":
        assert "cyto3, nuclei, zipped" in caught.value.hint
    assert no_worker(published)


def test_an_id_of_the_collection_that_is_not_here_is_missing(published):
    with pytest.raises(WeightsMissing, match=r"\./run weights cells get happy-bee"):
        call(model="happy-bee")


def test_weights_that_are_removed_are_missing_for_a_live_worker_too(published, capsys):
    get(published, "cyto3")
    assert call() == len(CYTO)
    assert command(capsys, "weights", "cells", "remove", "cyto3")[0] == 0
    with pytest.raises(WeightsMissing):
        call()


def test_a_users_own_weights_serve_a_module_of_all_users(published, tmp_path, monkeypatch):
    """As where the administrator has installed it, and its folder cannot be written."""
    own = tmp_path / "own"
    monkeypatch.setattr(home, "places", lambda: [own, published.data.root])
    get(type(published)(type(published.data)(own), published.module), "cyto3")
    assert call() == len(CYTO)
    assert published.missing() == []


def test_segment_ends_before_the_first_of_many_images(published, tmp_path, capsys):
    paths = [tmp_path / f"{number}.tif" for number in range(3)]
    for path in paths:
        images.write_labels(path, IMAGE.astype(np.int32))
    outputs = [path.with_suffix(".npy") for path in paths]
    with pytest.raises(WeightsMissing):
        list(segment_files("cells", paths, outputs, {}))
    code, error = command(capsys, "segment", "cells", *paths, "-o", tmp_path / "masks")
    assert (code, error["code"]) == (1, "weights_missing")
    assert no_worker(published)
    get(published, "cyto3")
    done = list(segment_files("cells", paths, outputs, {}))
    assert [type(one) for one in done] == [Segmented] * 3
    assert not any(isinstance(one, Failed) for one in done)


def one_shot(folder, tmp_path, *words):
    np.save(tmp_path / "in.npy", IMAGE)
    host = folder / "ga3_nodes" / "host.py"
    arguments = [sys.executable, host, folder, "--once", "--input", tmp_path / "in.npy"]
    arguments += ["--output", tmp_path / "out.npy", *words]
    return subprocess.run(arguments, capture_output=True, encoding="utf-8", cwd=tmp_path)


def test_one_shot_mode_takes_the_same_names(published, tmp_path):
    folder = published.data.generation("cells", 1)
    done = one_shot(folder, tmp_path)
    assert done.returncode == 1
    assert "Cells's model cyto3 is not downloaded yet." in done.stderr
    get(published, "cyto3")
    done = one_shot(folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "out.npy").max() == len(CYTO)
    assert str(published.folder) in done.stdout
    (tmp_path / "here.bin").write_bytes(SIZE)
    one_shot(folder, tmp_path, "--param", "model=./here.bin")
    assert np.load(tmp_path / "out.npy").max() == len(SIZE)


def test_a_module_inside_this_process_gets_a_path_too(published):
    worker = WORKER.replace('    print(os.environ["CELLS_PATH"]', '    0 and print(os.environ["X"]')
    tag = sys.implementation.cache_tag
    more = {"runtime": "host", "overlay": "envs/cells/2/overlay", "python_tag": tag}
    declaration = published.module.declaration()
    support.publish(published.data.root, declaration, worker, generation=2, title="Cells", **more)
    with pytest.raises(WeightsMissing):
        call()
    get(published, "cyto3")
    assert call() == len(CYTO)
    assert not records.live(published.data.root)


# ---- lists and commands -------------------------------------------------------------------------


def test_list_and_status_tell_of_missing_weights(published, capsys, tmp_path):
    code, data = command(capsys, "list")
    (found,) = [one for one in data["modules"] if one["name"] == "cells"]
    assert (code, found["state"], found["disk"]["weights"]) == (0, "weights_missing", 0)
    assert command(capsys, "weights", "cells", "get", "--default")[0] == 0
    (tmp_path / "mine").write_bytes(NUCLEI)
    words = ["add", tmp_path / "mine", "--name", "lab", "--note", "from Anna"]
    assert command(capsys, "weights", "cells", *words)[0] == 0
    _, data = command(capsys, "status", "cells")
    assert data["state"] == "ready"
    assert data["disk"] == {"own": 1, "shared": 2, "weights": len(CYTO) + len(SIZE) + len(NUCLEI)}
    sets = {one["name"]: one for one in data["weights"]}
    assert list(sets) == ["cyto3", "nuclei", "zipped", "lab"]
    expected = {"present": True, "size": len(CYTO) + len(SIZE), "license": "BSD-3-Clause"}
    expected |= {"source": "https://example.org/cyto3", "default": True, "custom": False}
    assert expected.items() <= sets["cyto3"].items()
    assert {"present": False, "note": "For DAPI."}.items() <= sets["nuclei"].items()
    assert {"custom": True, "note": "from Anna"}.items() <= sets["lab"].items()
    main(["status", "cells"])
    assert "from Anna" in capsys.readouterr().out


def test_the_commands_from_list_to_remove(cells, capsys):
    _, data = command(capsys, "weights", "cells")
    assert data["missing"] == ["cyto3"]
    assert data["collection"]["title"] == "Zoo"
    code, data = command(capsys, "weights", "cells", "get", "cyto3", "nuclei")
    assert (code, [one["new"] for one in data["sets"]]) == (0, [True, True])
    (cells.folder / "nuclei").write_bytes(b"")
    code, data = command(capsys, "weights", "cells", "verify", "--full")
    assert (code, [one["set"] for one in data["problems"]]) == (1, ["nuclei"])
    code, data = command(capsys, "weights", "cells", "remove", "cyto3")
    assert (code, data["freed_bytes"]) == (0, len(CYTO))
    assert command(capsys, "weights", "cells", "get")[0] == 2
    assert command(capsys, "weights", "cells", "burn")[0] == 2
    assert command(capsys, "weights", "nonsense", "list")[1]["code"] == "unknown_module"
    for words in (["list"], ["get", "cyto3"], ["verify", "cyto3"], ["remove", "cyto3"]):
        assert main(["weights", "cells", *words]) == 0
    assert "not" not in capsys.readouterr().err.lower()


def test_removing_a_module_keeps_its_weights_unless_told(published, capsys):
    get(published, "cyto3")
    code, data = command(capsys, "remove", "cells")
    assert (code, data["weights_bytes"]) == (0, len(CYTO) + len(SIZE))
    assert published.is_present("cyto3")
    code, data = command(capsys, "remove", "cells", "--weights")
    assert (code, data["freed_bytes"] >= len(CYTO) + len(SIZE)) == (0, True)
    assert not published.folder.exists()
    assert command(capsys, "remove", "cells", "--weights")[1]["code"] == "not_installed"
    assert command(capsys, "remove", "cells", "--weights", "--when-free")[0] == 2


def test_the_checklist_tells_of_weights(published):
    patient = Patient(published.data, Settings(), CancelToken())
    (examine,) = [
        examine for name, examine in checklist._examinations(patient) if name == "weights:cells"
    ]

    def line():
        return examine(patient)

    assert (line().status, line().hint) == ("warning", "./run weights cells get --default")
    get(published, "cyto3")
    assert line().status == "ok"
    (published.folder / "cyto3").write_bytes(b"")
    assert (line().status, line().hint) == ("error", "./run weights cells get cyto3")


def test_a_damaged_list_of_weights_is_a_problem_of_the_module(published):
    published.folder.mkdir(parents=True)
    (published.folder / "weights.json").write_text("{")
    status = inventory.status(published.data, "cells")
    assert status.state == "weights_missing"
    assert "weights.json" in status.problems[0]


def test_a_node_script_lists_the_known_weights(published):
    text = script(published.module, {})
    assert '"model": "cyto3",' in text
    assert '"nuclei"  Nuclei' in text
    assert '"model": "lab",' in script(published.module, {"model": "lab"})
