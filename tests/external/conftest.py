"""A copy of the project that sets itself up, and one that has done so."""

import pytest

from tests.external.project_copy import UV, Copy, make_registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """Give a folder with wheels, and the sha256 of each."""
    if not UV.is_file():
        pytest.skip(f"there is no {UV}: start ./run once")
    folder = tmp_path_factory.mktemp("wheels")
    return folder, make_registry(folder)


@pytest.fixture
def copy(tmp_path, registry):
    root = tmp_path / "Übung (mit) Leerzeichen"
    root.mkdir()
    return Copy(root, *registry)


@pytest.fixture
def ready(copy):
    copy.give_uv()
    copy.works()
    return copy
