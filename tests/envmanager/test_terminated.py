"""An install that the system ends without a word, as a power cut or the Task Manager does."""

from __future__ import annotations

import contextlib

import psutil
import pytest

from envmanager.environments import inventory
from ga3_nodes import home
from tests import programs

pytestmark = [pytest.mark.slow, pytest.mark.windows]


def test_an_install_that_is_terminated_leaves_nothing_running_and_the_next_one_works(
    environments, tiny, data_folder
):
    process = programs.command("install", "tiny")
    for line in process.stderr:
        if line.startswith("Installing"):
            break
    else:
        pytest.fail("it ended before")
    family = programs.family(process)
    # The command, and its launcher where there is one; uv is to end with it.
    for one in [one for one in family if "envmanager.cli" in " ".join(one.cmdline())]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert "tiny" not in home.read_config(data_folder)["modules"]
    done = environments.install("tiny")
    assert done.new
    assert environments.verify("tiny", quick=True) == []
    assert inventory.status(environments.data, "tiny").generations == [done.generation]
    assert not environments.data.trash.exists()
