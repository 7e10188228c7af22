"""What was installed works, from the wheel and in place."""

import subprocess
from pathlib import Path

import pytest

from execnode import __version__
from tests.packaging.building import (
    call,
    copy_tree,
    new_environment,
    pip_install,
    site_packages,
)

pytestmark = [
    pytest.mark.packaging,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("packaging"),
]

REPORT = "import execnode.engine._pty as core, execnode; print(execnode.__version__, core.__file__)"


def test_the_wheel_imports_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    version, file = call(installed / "bin/python", "-c", REPORT, cwd=tmp_path).split()
    assert version == __version__
    assert Path(file).is_relative_to(site_packages(installed))


@pytest.mark.parametrize("program", [["execnode"], ["python", "-m", "execnode"]])
def test_the_wheel_runs_a_command(installed: Path, tmp_path: Path, program: list[str]) -> None:
    command = [str(installed / "bin" / program[0]), *program[1:]]
    done = subprocess.run(
        [*command, "run", "--", "sh", "-c", "echo said; exit 3"],
        cwd=tmp_path,
        capture_output=True,
    )
    assert (done.returncode, done.stdout) == (3, b"said\n"), done.stderr.decode()


@pytest.mark.parametrize("name", ["execnode-linux-sandbox", "execnode-execve-wrapper"])
def test_the_wheel_puts_the_helper_on_the_path(installed: Path, name: str) -> None:
    done = subprocess.run([installed / "bin" / name], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"usage: {name} [" in done.stderr


@pytest.mark.parametrize("name", ["src", "engine", "server", "client", "protocol", "tests"])
def test_the_wheel_installs_no_other_name(installed: Path, tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [installed / "bin/python", "-c", f"import {name}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert f"No module named '{name}'" in done.stderr


def test_an_editable_install_imports_from_the_tree(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    environment = new_environment(tmp_path / "venv", borrow=True)
    pip_install(environment, "--no-deps", "--no-build-isolation", "--editable", tree, cwd=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    version, file = call(environment / "bin/python", "-c", REPORT, cwd=empty).split()
    assert version == __version__
    assert Path(file).is_relative_to(tree / "src/engine")

    (tree / "src/fresh.py").write_text("NAME = __name__\n")
    code = "import execnode.fresh; print(execnode.fresh.NAME)"
    assert call(environment / "bin/python", "-c", code, cwd=empty) == "execnode.fresh\n"
