"""The life of a module with weights, by the real commands and uv."""

from __future__ import annotations

import json

import pytest

from envmanager.cli import main
from ga3_nodes import client
from tests.envmanager.weights.conftest import CYTO, write_module
from tests.envmanager.weights.test_calls import IMAGE

pytestmark = pytest.mark.slow


def test_a_module_is_installed_with_its_usual_weights(
    data_folder, tiny_lock, shared_uv_cache, file_server, monkeypatch, capsys
):
    monkeypatch.setenv("UV_CACHE_DIR", str(shared_uv_cache))
    write_module(data_folder, file_server.url, tiny_lock)
    file_server.put("cyto3", CYTO)
    file_server.put("size.npy", b"size")
    assert main(["install", "cells"]) == 0  # its own test sees the variables of a worker
    assert "./run weights cells get --default" in capsys.readouterr().out
    assert file_server.asked == []
    assert main(["install", "cells", "--weights", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["weights_missing"] == []
    assert client.call("cells", "segment", {"image": IMAGE})["labels"].max() == len(CYTO)
    assert main(["verify", "cells"]) == 0
    assert main(["remove", "cells", "--weights"]) == 0
    assert not (data_folder / "weights" / "cells").exists()
