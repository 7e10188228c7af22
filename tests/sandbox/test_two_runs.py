"""A sandbox can prepare nothing from which the next one with the same options gets more."""

import os
import threading

import pytest

from execnode.engine._pty import sweep_placeholder
from tests.engine.family import eventually
from tests.sandbox.world import LIBC, X86, World

# Those that some rule gives a meaning, and those that keep somebody out.
MODES = ["1555", "0", "111", "444", "555", "1000"]


def opened(script: str) -> str:
    """A script after everything on the way was opened again."""
    return f"chmod 755 . way way/on; {script}"


@pytest.fixture
def world(world: World) -> World:
    world.make("ws/way/on/secret", "secret")
    world.make("ws/way/on/kept", "kept")
    world.make("ws/link-to/secret", "secret")
    return world


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("folder", ["way", "way/on"])
def test_a_folder_of_another_mode_hides_and_protects_as_before(
    world: World, folder: str, mode: str
) -> None:
    ws = world.workspace
    options = ["--read", "/", "--write", ws, "--deny", ws / "way/on/secret"]
    options += ["--read-only", ws / "way/on/kept"]
    first = world.shell(options, f"chmod {mode} {folder}")
    assert first.returncode == 0, first.stderr
    second = world.shell(options, opened("cat way/on/secret; echo changed >way/on/kept"))
    assert "secret" not in second.stdout
    (ws / folder).chmod(0o755)
    assert (ws / "way/on/kept").read_text() == "kept"


@pytest.mark.parametrize("mode", MODES)
def test_a_root_of_another_mode_protects_as_before(world: World, mode: str) -> None:
    world.make("ws/.git/config", "kept")
    ws = world.workspace
    options = ["--read", "/", "--write", world.base, "--profile", "workspace-write"]
    first = world.shell(options, f"chmod {mode} .")
    assert first.returncode == 0, first.stderr
    script = f"chmod 755 {ws}; cd {ws}; {opened('echo x >.git/config')}"
    world.run(options, "sh", "-c", script)
    ws.chmod(0o755)
    assert (ws / ".git/config").read_text() == "kept"
    # Placeholders in a shut folder are removed when it is open again, and may be going just now.
    kept_missing = [ws / name for name in (".agents", ".aws", ".codex")]
    assert eventually(lambda: not any(path.exists() for path in kept_missing))


def test_what_a_link_leads_to_in_a_shut_folder_stays_hidden(world: World) -> None:
    link = world.base / "link"
    link.symlink_to(world.workspace / "way/on/secret")
    ws = world.workspace
    options = ["--read", "/", "--write", ws, "--deny", link]
    assert world.shell(options, "chmod 0 way").returncode == 0
    assert "secret" not in world.shell(options, opened("cat way/on/secret")).stdout


def test_a_full_folder_is_no_placeholder(world: World) -> None:
    """Whatever its mode; what is in it can be seen and changed."""
    ws = world.workspace
    (ws / "way").chmod(0o1555)
    options = ["--read", "/", "--write", ws, "--missing", ws / "way"]
    assert world.shell(options, "cat way/on/kept").stdout == "kept"
    (ws / "way").chmod(0o755)


def test_a_folder_that_becomes_a_link_leads_nowhere(world: World) -> None:
    """While a placeholder is to be put into it: a program that runs beside may exchange it."""
    sub, link = world.workspace / "sub", world.workspace / "link"
    sub.mkdir()
    link.symlink_to(world.outside)
    for path in (sub, link):
        os.chown(path, world.uid, world.uid, follow_symlinks=False)
    before = world.outside.stat().st_mtime_ns
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            LIBC.syscall(316 if X86 else 276, -100, bytes(sub), -100, bytes(link), 2)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        options = ["--read", "/", "--write", world.workspace, "--missing", sub / ".git"]
        for _ in range(60):
            world.run(options, "true")
    finally:
        done.set()
        thread.join()
    assert world.outside.stat().st_mtime_ns == before


def test_a_sweep_follows_no_link(world: World) -> None:
    placeholder = world.outside / ".git"
    placeholder.mkdir()
    placeholder.chmod(0o1555)
    (world.workspace / "link").symlink_to(world.outside)
    sweep_placeholder(bytes(world.workspace / "link/.git"))
    assert placeholder.exists()
    assert sweep_placeholder(bytes(placeholder))
    assert not placeholder.exists()
