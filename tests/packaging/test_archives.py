"""The wheel and the source archive hold what they should."""

import re
import tarfile
from pathlib import PurePosixPath
from zipfile import ZipFile

import pytest

from execnode import __version__
from tests.locate import ROOT
from tests.packaging.building import Archives

# One worker builds the archives once; a build takes longer than a test may.
pytestmark = [
    pytest.mark.packaging,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("packaging"),
]

FOLDER = "execnode/engine/_seccomp"


def wheel_files(archives: Archives) -> set[str]:
    with ZipFile(archives.wheel) as wheel:
        return set(wheel.namelist())


def test_the_wheel_holds_execnode_and_nothing_else(archives: Archives) -> None:
    name = f"execnode-{__version__}"
    tops = {PurePosixPath(name).parts[0] for name in wheel_files(archives)}
    assert tops == {"execnode", f"{name}.data", f"{name}.dist-info"}
    data = {file for file in wheel_files(archives) if file.startswith(f"{name}.data/")}
    names = ("execnode-execve-wrapper", "execnode-linux-sandbox")
    assert data == {f"{name}.data/scripts/{program}" for program in names}


def test_the_wheel_holds_every_python_file_and_stub(archives: Archives) -> None:
    ours = {
        f"execnode/{path.relative_to(ROOT / 'src')}"
        for pattern in ("*.py", "*.pyi")
        for path in (ROOT / "src").rglob(pattern)
    }
    assert ours <= wheel_files(archives)
    assert "execnode/py.typed" in wheel_files(archives)
    assert "execnode/engine/_pty.pyi" in wheel_files(archives)


def test_the_wheel_holds_the_compiled_modules_and_no_source_of_them(archives: Archives) -> None:
    files = wheel_files(archives)
    modules = {PurePosixPath(name).name.partition(".")[0] for name in files if name.endswith(".so")}
    assert modules == {"_confine", "_files", "_notify", "_pty", "libexecnode-intercept"}
    assert [name for name in files if re.search(r"\.(c|h|o|pyx|pxd)$", name)] == []


@pytest.mark.skipif(
    not list((ROOT / "src/engine/_seccomp").glob("*.c")), reason="no helper program in this tree"
)
@pytest.mark.parametrize("name", ["execnode-helper", "execnode-execve-wrapper"])
def test_the_helper_program_may_be_executed(archives: Archives, name: str) -> None:
    with ZipFile(archives.wheel) as wheel:
        mode = wheel.getinfo(f"{FOLDER}/{name}").external_attr >> 16
    assert mode & 0o111 == 0o111


def test_the_source_archive_holds_sources_and_tests(archives: Archives) -> None:
    with tarfile.open(archives.sdist) as sdist:
        files = {name.partition("/")[2] for name in sdist.getnames()}
    sources = {
        str(path.relative_to(ROOT))
        for pattern in ("*.py", "*.pyi", "*.pyx", "*.pxd", "*.c", "*.h")
        for path in (ROOT / "src").rglob(pattern)
    }
    assert sources <= files
    assert {"LICENSE", "Makefile", "README.md", "setup.py", "pyproject.toml"} <= files
    assert {"tests/conftest.py", "tests/packaging/test_archives.py"} <= files
    assert [name for name in files if name.endswith((".so", ".pyc"))] == []
