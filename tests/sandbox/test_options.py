"""execnode-linux-sandbox by hand: what its options allow and refuse, and how it fails."""

import os
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from execnode.engine._pty import landlock_abi
from tests.sandbox.world import PYTHON, World

WORKSPACE_WRITE = ("--profile", "workspace-write")
READ_ONLY = ("--profile", "read-only")


def says(world: World, options: Sequence[object], script: str) -> str:
    done = world.shell(options, f"( {script} ) >/dev/null 2>&1 && echo yes || echo no")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


# ---- presets -----------------------------------------------------------------------------------

TABLE = [
    # script: read-only, workspace-write, full-access
    ("cat file", "yes yes yes"),
    ("ls /usr/bin", "yes yes yes"),
    ("cat ../outside/file", "yes yes yes"),
    ("touch new", "no yes yes"),
    ("echo x >file", "no yes yes"),
    ("mkdir -p a/b && touch a/b/c && mv a d && rm -r d", "no yes yes"),
    ("ln -s file link && ln file hard", "no yes yes"),
    ("chmod 600 file", "no yes yes"),
    ("touch -d yesterday file", "no yes yes"),
    ("mkfifo pipe", "no yes yes"),
    ('f=$(mktemp /tmp/x.XXXXXX) && rm "$f"', "no yes yes"),
    ("cat .git/config", "yes yes yes"),
    ("touch .git/new", "no no yes"),
    ("mkdir .codex", "no no yes"),
    ("touch ../outside/new", "no no yes"),
    ("echo x >../outside/file", "no no yes"),
    ("echo x >/dev/null", "yes yes yes"),
    ("head -c 9 /dev/zero /dev/urandom /dev/random", "yes yes yes"),
    ("echo x >/dev/shm/x.$$ && rm /dev/shm/x.$$", "yes yes yes"),
    ("test -r /proc/self/status", "yes yes yes"),
    (f"{PYTHON} -c 'import socket; socket.socket()'", "no no yes"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "wanted"), TABLE, ids=[script for script, _ in TABLE])
@pytest.mark.parametrize("profile", ["read-only", "workspace-write", "full-access"])
def test_a_profile(world: World, profile: str, script: str, wanted: str) -> None:
    world.make("ws/file")
    world.make("ws/.git/config")
    column = ["read-only", "workspace-write", "full-access"].index(profile)
    assert says(world, ["--profile", profile], script) == wanted.split()[column]


@pytest.mark.parametrize("root", ["/", "/usr /bin /lib /lib64"])
def test_a_link_is_seen_in_a_folder_that_is_not(world: World, root: str) -> None:
    world.make("ws/hidden/file")
    world.make("ws/file", "text ")
    hidden = world.workspace / "hidden"
    (hidden / "link").symlink_to("../file")
    (hidden / "loop").symlink_to("loop")
    seen = [*root.split(), world.workspace / "file", hidden / "link", hidden / "loop"]
    options = ["--literal", "--deny", hidden, *(word for path in seen for word in ("--read", path))]
    done = world.shell(options, "cat hidden/link && readlink hidden/loop; cat hidden/file")
    assert done.stdout == "text loop\n", done.stderr
    assert "hidden/file" in done.stderr


def test_tmpdir_and_other_workspaces_are_writable(world: World) -> None:
    for name in ("tmp/x", "one/x", "two/x"):
        world.make(name)
    options = [
        *WORKSPACE_WRITE,
        "--workspace",
        world.base / "one",
        "--workspace",
        world.base / "two",
    ]
    done = world.run(
        options, "sh", "-c", "touch ../tmp/y ../one/y ../two/y; touch y",
        env={**os.environ, "TMPDIR": str(world.base / "tmp")},
    )  # fmt: skip
    assert done.returncode == 1, "the working folder is no workspace here"
    assert all((world.base / name).exists() for name in ("tmp/y", "one/y", "two/y"))
    assert not (world.workspace / "y").exists()


# ---- rules -------------------------------------------------------------------------------------


def test_what_is_not_listed_is_not_there(world: World) -> None:
    options = ["--minimal", "--read", world.workspace]
    assert says(world, options, "test -d /usr && test -e /bin/sh && test -e /dev/null") == "yes"
    assert says(world, options, f"test -e {world.outside}") == "no"
    assert says(world, options, "test -e /root -o -e /var/log -o -e /sys -o -e /home") == "no"
    assert says(world, options, "touch new") == "no"
    assert says(world, options, "touch /new || touch /usr/new || mkdir /home") == "no"


def test_the_longest_path_decides(world: World) -> None:
    for name in ("ws/a/b/c/file", "ws/a/b/file", "ws/a/file", "ws/file"):
        world.make(name)
    ws = world.workspace
    options = [
        "--minimal", "--write", ws, "--read-only", ws / "a", "--write", ws / "a/b",
        "--deny", ws / "a/b/c",
    ]  # fmt: skip
    assert says(world, options, "echo x >file") == "yes"
    assert says(world, options, "echo x >a/file") == "no"
    assert says(world, options, "cat a/file") == "yes"
    assert says(world, options, "echo x >a/b/file") == "yes"
    assert says(world, options, "cat a/b/c/file || ls a/b/c") == "no"
    assert says(world, options, "mv a/b x || mv a x || rmdir a/b/c") == "no"


def test_something_visible_in_something_hidden(world: World) -> None:
    world.make("ws/hidden/shown/file", "text")
    world.make("ws/hidden/secret", "text")
    ws = world.workspace
    options = ["--read", "/", "--deny", ws / "hidden", "--read", ws / "hidden/shown"]
    assert says(world, options, "cat hidden/shown/file") == "yes"
    assert says(world, options, "cat hidden/secret") == "no"
    assert says(world, options, "ls hidden") == "no"


def test_equal_paths_deny_beats_write_beats_read(world: World) -> None:
    file = world.make("ws/file")
    write, read, deny = ["--write", file], ["--read", file], ["--deny", file]
    assert says(world, ["--minimal", *read, *write], "echo x >file") == "yes"
    assert says(world, ["--minimal", "--read", "/", *write, *deny, *read], "cat file") == "no"


def test_refusals_say_what_people_know(world: World) -> None:
    world.make("ws/.git/config")
    world.make("ws/secret")
    options = [*WORKSPACE_WRITE, "--deny", world.workspace / "secret"]
    done = world.shell(options, "export LC_ALL=C; touch .git/x; touch /etc/x; cat secret")
    read_only, etc, denied = done.stderr.splitlines()
    assert read_only.endswith("Read-only file system")
    assert etc.endswith("Read-only file system")
    assert denied.endswith("Permission denied")


def test_a_protected_name_may_be_a_link(world: World) -> None:
    world.make("ws/real/config")
    (world.workspace / ".git").symlink_to("real")
    assert says(world, [*WORKSPACE_WRITE], "cat .git/config") == "yes"
    for script in ("rm .git", "mv .git x", "ln -sfn /etc .git", "echo x >.git/config",
                   "echo x >real/config", "mv real x"):  # fmt: skip
        assert says(world, [*WORKSPACE_WRITE], script) == "no"
    assert (world.workspace / ".git").readlink() == Path("real")


def test_a_written_path_that_is_missing_grants_nothing(world: World) -> None:
    options = ["--minimal", "--read", world.workspace, "--write", world.workspace / "new"]
    assert says(world, options, "mkdir new") == "no"
    assert not (world.workspace / "new").exists()


def test_a_link_may_be_meant_itself(world: World) -> None:
    """It is seen and stays as it is; what it leads to is neither granted nor taken away."""
    world.make("ws/real/file")
    for name, target in {"own": "real", "away": str(world.outside), "gone": "nothing"}.items():
        (world.workspace / name).symlink_to(target)
    links = [world.workspace / name for name in ("own", "away", "gone")]
    options = ["--literal", "--minimal", "--write", world.workspace]
    options += [word for link in links for word in ("--read-only", link)]
    seen = world.shell(options, "readlink own away gone").stdout.split()
    assert seen == ["real", str(world.outside), "nothing"]
    assert says(world, options, "echo x >own/file && touch own/new && mv real/new new") == "yes"
    for name in ("own", "away", "gone"):
        assert says(world, options, f"rm {name}") == "no"
        assert says(world, options, f"mv {name} other || ln -sfn file {name}") == "no"
        assert (world.workspace / name).is_symlink()
    assert says(world, options, "ls away/ || cat away/file") == "no"
    assert says(world, options, "mkdir nothing") == "yes"


def test_a_link_may_be_hidden_itself(world: World) -> None:
    world.make("ws/real/file")
    (world.workspace / "link").symlink_to("real")
    options = ["--literal", "--minimal", "--write", world.workspace]
    options += ["--deny", world.workspace / "link"]
    assert says(world, options, "readlink link || cat link/file || ls link/") == "no"
    assert says(world, options, "rm link") == "no"
    assert says(world, options, "echo x >real/file") == "yes"


def test_what_has_become_a_link_is_not_followed(world: World) -> None:
    """A plan was made while it was a folder."""
    (world.workspace / "folder").symlink_to(world.outside)
    literal = ["--literal", "--minimal", "--write", world.workspace]
    at_the_end = [*literal, "--write", world.workspace / "folder"]
    assert says(world, at_the_end, "ls folder/ || cat folder/file") == "no"
    on_the_way = world.run([*literal, "--read", world.workspace / "folder/file"], "true")
    assert on_the_way.returncode == 2
    assert "has a link on its way" in on_the_way.stderr


def test_the_hosts_read_only_mounts_stay_so(world: World) -> None:
    if world.uid != 0:
        pytest.skip("only root can mount")
    program = world.base / "execnode-linux-sandbox"
    program.symlink_to(world.helper)
    script = f"""mount --bind {world.outside} {world.outside}
        mount -o remount,bind,ro {world.outside}
        exec {program} --read / --write {world.outside} -- touch {world.outside}/new"""
    done = subprocess.run(["unshare", "-m", "sh", "-ec", script], capture_output=True, text=True)
    assert "Read-only file system" in done.stderr


# ---- network -----------------------------------------------------------------------------------

CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"
LISTEN = "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1])))"


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@pytest.mark.parametrize("words", [["--network"], ["--network", "full"]])
def test_the_network_may_be_allowed(
    world: World, words: list[str], listener: socket.socket
) -> None:
    port = str(listener.getsockname()[1])
    with listener:
        done = world.run([*WORKSPACE_WRITE, *words], PYTHON, "-c", CONNECT, port)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(landlock_abi() < 4, reason="Landlock ABI 4 is missing")
def test_ports_may_be_allowed_one_by_one(world: World, listener: socket.socket) -> None:
    port = str(listener.getsockname()[1])
    with listener, socket.create_server(("127.0.0.1", 0)) as other:
        allowed = [*WORKSPACE_WRITE, "--connect-port", port]
        assert world.run(allowed, PYTHON, "-c", CONNECT, port).returncode == 0
        refused = world.run(allowed, PYTHON, "-c", CONNECT, str(other.getsockname()[1]))
        assert "PermissionError" in refused.stderr
        listening = world.run(allowed, PYTHON, "-c", LISTEN, "0")
        assert "PermissionError" in listening.stderr
        udp = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
        assert "PermissionError" in world.run(allowed, PYTHON, "-c", udp).stderr
    binding = [*WORKSPACE_WRITE, "--bind-port", port]
    assert world.run(binding, PYTHON, "-c", LISTEN, port).returncode == 0
    assert "PermissionError" in world.run(binding, PYTHON, "-c", LISTEN, "1234").stderr


# ---- the program -------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 125, 126, 127, 255])
def test_the_exit_code_comes_back(world: World, code: int) -> None:
    assert world.shell(READ_ONLY, f"exit {code}").returncode == code


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "USR1", "RTMIN"])
def test_the_signal_of_a_death_comes_back(world: World, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    assert world.shell(READ_ONLY, f"kill -{number} $$").returncode == -number


def test_arg0_is_passed_on(world: World) -> None:
    done = world.run(
        [*READ_ONLY, "--arg0", "other"], "/bin/sh", "-c", "tr '\\0' ' ' </proc/$$/cmdline"
    )
    assert done.stdout.startswith("other -c ")


def test_cwd(world: World) -> None:
    world.make("ws/below/file")
    done = world.shell([*READ_ONLY, "--cwd", world.workspace / "below"], "pwd; cat file")
    assert done.stdout.split() == [str(world.workspace / "below")]
    hidden = world.shell(["--minimal", "--cwd", world.outside], "pwd")
    assert hidden.stdout == "/\n"


@pytest.mark.parametrize(("name", "said"), [("none", "No such file"), ("file", "Not a directory")])
def test_a_cwd_that_is_no_folder_is_an_error(world: World, name: str, said: str) -> None:
    world.make("ws/file")
    folder = world.workspace / name
    for options in (READ_ONLY, ["--profile", "workspace-write"], ["--profile", "full-access"]):
        done = world.shell([*options, "--cwd", folder], "pwd")
        assert (done.returncode, done.stdout) == (125, "")
        assert f"chdir: {folder}: {said}" in done.stderr


def test_the_root_does_not_become_the_workspace_when_the_cwd_was_removed(world: World) -> None:
    enter = 'cd "$1" && rmdir "$1" && '
    command = 'exec -a execnode-linux-sandbox "$0" --profile workspace-write -- true'
    gone = world.workspace / "gone"
    gone.mkdir()
    os.chown(gone, world.uid, world.uid)
    done = subprocess.run(
        ["/bin/bash", "-c", enter + command, world.helper, gone],
        capture_output=True, text=True, **world.user,
    )  # fmt: skip
    assert done.returncode == 2
    assert "the working folder was removed" in done.stderr


def test_descriptors_are_not_passed_on(world: World) -> None:
    with Path("/etc/passwd").open() as file:
        done = world.run(READ_ONLY, "ls", "/proc/self/fd", pass_fds=[file.fileno()])
    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3 is of ls


@pytest.mark.parametrize("profile", ["read-only", "workspace-write", "full-access"])
def test_descriptors_are_passed_on_by_their_numbers(world: World, profile: str) -> None:
    with ExitStack() as stack:
        passed = [stack.enter_context(Path("/etc/passwd").open()).fileno() for _ in range(5)]
        names = [passed[3], passed[1], passed[3], 2]
        words = [word for fd in names for word in ("--pass-fd", str(fd))]
        command = ["ls", "/proc/self/fd"]
        done = world.run(["--profile", profile, *words], *command, pass_fds=passed)
    lowest = min({3, *passed} - {passed[1], passed[3]})  # is of ls
    assert {int(fd) for fd in done.stdout.split()} == {0, 1, 2, lowest, passed[1], passed[3]}


def test_only_the_program_holds_what_is_passed_on(world: World) -> None:
    read, write = os.pipe()
    script = f"echo x >&{write}; exec {write}>&-; exec sleep 1000"
    words = [*READ_ONLY, "--pass-fd", str(write)]
    with world.start(words, ["bash", "-c", script], pass_fds=[write]) as running:
        os.close(write)
        assert os.read(read, 999) == b"x\n"
        assert os.read(read, 999) == b""
        assert running.poll() is None
        running.kill()
    os.close(read)


@pytest.mark.parametrize(
    ("place", "options"),
    [
        ("ws/.git/config", WORKSPACE_WRITE),
        ("outside/file", WORKSPACE_WRITE),
        ("outside/file", ("--minimal", "--write", ".")),  # there it is invisible
        ("ws/secret", ("--minimal", "--write", ".", "--deny", "secret")),
    ],
)
def test_a_file_that_is_read_as_stdin_is_not_changed_by_it(
    world: World, place: str, options: Sequence[str]
) -> None:
    """Whoever opened it may have another mount of it, where it can be written."""
    path = world.make(place, "first\nsecond\n")
    path.chmod(0o644)
    script = (
        "import os\n"
        "for change in (lambda: os.open('/proc/self/fd/0', os.O_WRONLY | os.O_TRUNC),\n"
        "               lambda: os.fchmod(0, 0o666), lambda: os.utime(0, (1, 1))):\n"
        "    try: change()\n"
        "    except OSError: print('refused')\n"
        "print(os.read(0, 99))\n"
    )
    with path.open("rb", buffering=0) as stdin:
        stdin.seek(6)
        done = world.run(options, PYTHON, "-I", "-c", script, stdin=stdin)
    assert done.stdout.splitlines() == ["refused"] * 3 + [r"b'second\n'"], done.stderr
    assert path.read_text() == "first\nsecond\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_null_device_of_the_machine_is_out_of_reach(world: World) -> None:
    """As root's, its mode could be changed; here to what it is."""
    before = Path("/dev/null").stat()
    mode = before.st_mode & 0o777
    script = (
        "import os\n"
        "for each in (0, 1, '/dev/null'):\n"
        f"    try: os.chmod(each, {mode})\n"
        "    except OSError: pass\n"
    )
    done = world.run(
        ["--profile", "workspace-write"], PYTHON, "-I", "-c", script, stdout=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert Path("/dev/null").stat().st_ctime_ns == before.st_ctime_ns


def test_background_processes_end_with_the_program(world: World) -> None:
    read, write = os.pipe()
    done = world.run(READ_ONLY, "sh", "-c", "setsid sleep 1000 >&0 & exit 5", stdin=write)
    os.close(write)
    assert done.returncode == 5
    assert os.read(read, 1) == b""  # the last that held the other end is gone
    os.close(read)


def test_many_processes_see_each_other_and_nobody_else(world: World) -> None:
    done = world.shell(READ_ONLY, "sleep 9 & ls /proc | grep -c '^[0-9]'")
    assert int(done.stdout) <= 6


def test_limits_are_kept(world: World) -> None:
    done = world.run(
        READ_ONLY, "sh", "-c", "ulimit -n",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50)),
    )  # fmt: skip
    assert done.stdout == "50\n"


def test_ten_sandboxes_at_once(world: World) -> None:
    codes: list[int] = []

    def one() -> None:
        codes.extend(world.shell(WORKSPACE_WRITE, "mkdir .git").returncode for _ in range(5))

    threads = [threading.Thread(target=one) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [1] * 50
    assert list(world.workspace.iterdir()) == []


# ---- failures ----------------------------------------------------------------------------------

MISTAKES = [
    [], ["--"], ["--profile"], ["--profile", "nothing", "--", "true"], ["--bad", "x", "--", "true"],
    ["true"], ["--connect-port", "x", "--", "true"], ["--connect-port", "65536", "--", "true"],
    ["--network", "full", "--bind-port", "1", "--", "true"], ["--status-fd", "77", "--", "true"],
    ["--pass-fd", "77", "--", "true"], ["--pass-fd", "x", "--", "true"],
    ["--accept-missing", "nothing", "--", "true"], ["--network", "some", "--", "true"],
]  # fmt: skip


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_mistakes_are_explained(world: World, words: list[str]) -> None:
    done = subprocess.run(
        ["execnode-linux-sandbox", *words], executable=world.helper, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.startswith("execnode-linux-sandbox: ")
    if words:
        assert rest == ["hint: see execnode-linux-sandbox --help"]
    else:
        assert rest[0].startswith("usage: ")


def test_help_is_no_mistake(world: World) -> None:
    done = subprocess.run(
        ["execnode-linux-sandbox", "--help"],
        executable=world.helper,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("usage: ")
    assert done.stderr == ""


def test_an_unknown_name_is_explained(world: World) -> None:
    done = subprocess.run(["other"], executable=world.helper, capture_output=True, text=True)
    assert done.returncode == 2
    assert "execnode-linux-sandbox" in done.stderr


@pytest.mark.parametrize(
    ("program", "code", "text"),
    [
        ("no-such-program", 127, "No such file or directory"),
        ("/no/such/program", 127, "No such file or directory"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/usr", 126, "Permission denied"),
    ],
)
def test_a_program_that_cannot_be_run(world: World, program: str, code: int, text: str) -> None:
    done = world.run(READ_ONLY, program)
    assert done.returncode == code
    assert done.stderr == f"execnode-linux-sandbox: execve: {program}: {text}\n"


def test_a_program_outside_cannot_be_run(world: World) -> None:
    program = world.make("outside/program", "#!/bin/sh\n")
    program.chmod(0o755)
    assert world.run(["--minimal"], program).returncode == 127
    assert world.run(["--read", "/"], program).returncode == 0


def test_failures_go_to_the_status_descriptor(world: World) -> None:
    read, write = os.pipe()
    words = [*READ_ONLY, "--status-fd", str(write)]
    failing = world.run(words, "no-such-program", pass_fds=[write])
    assert (failing.returncode, failing.stderr) == (127, "")
    assert os.read(read, 999) == b"execve 2 no-such-program: No such file or directory\n"
    # It is closed as soon as the program runs.
    with world.start(words, ["sleep", "1000"], pass_fds=[write]) as running:
        os.close(write)
        assert os.read(read, 999) == b""
        running.kill()
    os.close(read)
