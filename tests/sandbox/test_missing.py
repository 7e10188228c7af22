"""Names that must not come into being: nobody inside makes them, and nothing stays behind."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.engine.family import eventually
from tests.sandbox.world import NOBODY, World

OPTIONS = ["--profile", "workspace-write"]
NAMES = [".agents", ".aws", ".codex", ".git"]


def names_in(world: World) -> list[str]:
    return sorted(path.name for path in world.workspace.iterdir())


@contextmanager
def running(world: World, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A sandbox whose program has said that it runs, in a session of its own."""
    with world.start(
        [*OPTIONS, *more],
        ["sh", "-c", "echo runs; sleep 1000"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "runs\n"
            yield process
        finally:
            process.kill()


def children_of(parent: int) -> dict[str, int]:
    """By name, which the keeper has one of its own."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
                if int(rest.split()[1]) == parent:
                    found[name] = int(entry.name)
    return found


def init_of(launcher: int) -> int:
    """Pid 1 of the sandbox."""
    return children_of(launcher)["execnode-helper"]


def keeper_of(launcher: int) -> int:
    return children_of(launcher)["execnode-keeper"]


def test_nothing_stays_behind_at_the_end(world: World) -> None:
    assert world.shell(OPTIONS, "mkdir .git").returncode == 1
    assert names_in(world) == []


def test_new_files_land_in_the_workspace(world: World) -> None:
    assert world.shell(OPTIONS, "echo x >new; mkdir -p a/.git; mv new newer").returncode == 0
    assert names_in(world) == ["a", "newer"]
    assert (world.workspace / "a/.git").is_dir()


def test_nothing_stays_behind_when_the_program_cannot_be_run(world: World) -> None:
    assert world.run(OPTIONS, "no-such-program").returncode == 127
    assert names_in(world) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("group", [False, True])
def test_nothing_stays_behind_after_a_signal(world: World, number: int, group: bool) -> None:
    with running(world) as process:
        assert names_in(world) == NAMES
        (os.killpg if group else os.kill)(process.pid, number)
        assert process.wait(10) == -number
        assert eventually(lambda: names_in(world) == [])


def test_nothing_stays_behind_when_pid_1_is_killed(world: World) -> None:
    with running(world) as process:
        os.kill(init_of(process.pid), signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert names_in(world) == []


def test_nothing_stays_behind_when_the_keeper_is_killed(world: World) -> None:
    with running(world) as process:
        os.kill(keeper_of(process.pid), signal.SIGKILL)
        process.terminate()
        process.wait(10)
        assert names_in(world) == []


def test_the_whole_sandbox_ends_with_its_launcher(world: World) -> None:
    with running(world) as process:
        init = os.pidfd_open(init_of(process.pid))
        process.kill()
        assert process.stdout
        assert process.stdout.read() == ""  # closed by all that had it
        os.close(init)
    assert eventually(lambda: names_in(world) == [])


def test_the_last_of_several_removes_them(world: World) -> None:
    with running(world) as one:
        with running(world) as other:
            other.kill()
            other.wait(10)
        assert world.shell(OPTIONS, "mkdir .git").returncode == 1
        assert names_in(world) == NAMES
        one.kill()
        one.wait(10)
        assert eventually(lambda: names_in(world) == [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_with_the_same_names_do_not_disturb_each_other() -> None:
    """In the workspace nobody can make none of them, and finds those of root come and go."""

    def start(user: World) -> str:
        done = user.run(["--profile", "workspace-write", "--workspace", workspace], "true")
        return done.stderr

    with World(0) as root, World(NOBODY) as nobody, ThreadPoolExecutor(3) as threads:
        workspace = root.workspace
        assert set(threads.map(start, [root, nobody, nobody] * 150)) == {""}


def test_what_was_left_behind_by_a_power_cut_goes_with_the_next(world: World) -> None:
    with running(world) as process:
        for pid in (keeper_of(process.pid), process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait(10)
        assert names_in(world) == NAMES
    assert world.shell(OPTIONS, "mkdir .git").returncode == 1
    assert names_in(world) == []


def test_what_somebody_outside_makes_stays(world: World) -> None:
    """As a `git init` by hand would: the placeholder is a folder, no longer empty then."""
    with running(world) as process:
        git = world.workspace / ".git"
        git.chmod(0o755)
        (git / "config").write_text("made outside")
        process.terminate()
        process.wait(10)
    assert names_in(world) == [".git"]
    assert (world.workspace / ".git/config").read_text() == "made outside"


def test_a_path_of_several_missing_names_is_stopped_at_the_first(world: World) -> None:
    options = ["--minimal", "--write", world.workspace, "--missing", world.workspace / "a/b/c"]
    assert world.shell(options, "mkdir a").returncode == 1
    assert world.shell(options, "mkdir b && rmdir b").returncode == 0
    deny = ["--minimal", "--write", world.workspace, "--deny", world.workspace / "never"]
    assert world.shell(deny, "mkdir never").returncode == 1
    assert names_in(world) == []


def test_a_name_that_nobody_could_make_needs_no_placeholder(world: World) -> None:
    folder = world.base / "theirs"
    folder.mkdir()
    folder.chmod(0o755)
    if world.uid == os.geteuid():
        pytest.skip("root may make names anywhere")
    options = ["--read", "/", "--write", folder, "--missing", folder / ".git"]
    done = world.shell(options, f"echo ran; mkdir {folder}/.git")
    assert (done.returncode, done.stdout) == (1, "ran\n"), done.stderr
    assert list(folder.iterdir()) == []


def test_a_name_in_a_folder_of_ones_own_that_is_closed_is_refused(world: World) -> None:
    """Inside, its owner could open it again."""
    world.make("ws/closed/file")
    folder = world.workspace / "closed"
    folder.chmod(0o555)
    options = ["--read", "/", "--write", folder, "--missing", folder / ".git"]
    done = world.shell(options, f"chmod 755 {folder}; mkdir {folder}/.git")
    assert done.returncode in (1, 125), done.stderr
    assert not (folder / ".git").exists()
    folder.chmod(0o755)
