"""Build the archives once, and install the wheel into an environment made for the purpose."""

import sys
from pathlib import Path

import pytest

from tests.packaging.building import Archives, call, copy_tree, new_environment, pip_install


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    """A source archive, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("archives")
    tree = copy_tree(folder / "tree")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, tree, cwd=folder)
    [sdist] = folder.glob("*.tar.gz")
    [wheel] = folder.glob("*.whl")
    return Archives(sdist, wheel)


@pytest.fixture(scope="session")
def installed(archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and the dependencies that it names."""
    folder = tmp_path_factory.mktemp("installed")
    environment = new_environment(folder / "venv")
    pip_install(environment, archives.wheel, cwd=folder)
    return environment
