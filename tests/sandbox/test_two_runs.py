"""A sandbox can prepare nothing from which the next one with the same options gets more."""

import pytest

from tests.sandbox.world import World

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
    options = ["--read", "/", "--write", world.base, "--profile", "workspace-write"]
    first = world.shell(options, f"chmod {mode} .")
    assert first.returncode == 0, first.stderr
    world.run(options, "sh", "-c", f"cd {world.workspace}; {opened('echo x >.git/config')}")
    world.workspace.chmod(0o755)
    assert (world.workspace / ".git/config").read_text() == "kept"


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
