"""Processes in a sandbox, over the wire: what is answered, told, refused and left."""

import ctypes
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from execnode.engine.cgroup import own_folders
from execnode.engine.programs import HELPER
from tests.server.conftest import Launch
from tests.server.running import ExecSettings, NodeProcess, NodeSettings
from tests.server.wire import Json, Wire, eventually
from tests.workspace import workspace

NOBODY = 65534
# The tests' own may lie in root's home, where nobody else can go.
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or os.path.realpath(sys.executable)
READ_ALL = {"path": {"type": "special", "value": {"kind": "root"}}, "access": "read"}


def managed(*entries: Json, network: str = "restricted", **members: Any) -> Json:
    files = {"type": "restricted", "entries": list(entries)}
    permissions = {"type": "managed", "file_system": files, "network": network}
    return {"permissions": permissions, "windowsSandboxLevel": "disabled", **members}


def entry(path: Path | str, access: str) -> Json:
    return {"path": {"type": "path", "path": Path(path).as_uri()}, "access": access}


READ_ONLY = managed(READ_ALL)
DISABLED = {"permissions": {"type": "disabled"}, "windowsSandboxLevel": "disabled"}


def reachable(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


@pytest.fixture(params=["root", "nobody"])
def wire(request: pytest.FixtureRequest, node: NodeProcess, launch: Launch) -> Iterator[Wire]:
    """A connection to a node of each user that a node may be run by."""
    uid = os.geteuid()
    if request.param == "nobody" and uid == 0:
        if not reachable(HELPER):
            pytest.skip("another user cannot reach the helper executable")
        node = launch(uid=NOBODY)
    elif request.param == "root" and uid != 0:
        pytest.skip("only root may be root")
    with node.connect(sessionTtlMs=0) as connected:
        yield connected


@pytest.fixture
def work(request: pytest.FixtureRequest) -> Iterator[Path]:
    with workspace() as folder:
        if "nobody" in request.node.name and os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        folder.chmod(0o755)
        yield folder


def writing(work: Path, *entries: Json, **members: Any) -> Json:
    return managed(READ_ALL, entry(work, "write"), *entries, **members)


# --- the answer -----------------------------------------------------------------------------------


def test_the_answer_says_what_enforces_it(wire: Wire, work: Path) -> None:
    ways = {"none": DISABLED, "landlock": READ_ONLY, "namespaces": writing(work)}
    for way, sandbox in ways.items():
        answer = wire.start("echo $0 here", way, sandbox=sandbox, arg0="me")
        assert answer["sandboxType"] == "linuxSeccomp"
        assert answer["sandbox"] == {"path": way}
        seen = wire.ended(way)
        assert (seen.stdout, seen.stderr, seen.exit_code) == (b"me here\n", b"", 0)
        assert seen.exited is not None
        assert seen.exited["sandboxDenied"] is False
        assert seen.exited["reason"] == "exit"
    assert wire.run("true", "n", sandbox=None).exit_code == 0


def test_output_follows_the_answer(wire: Wire, work: Path) -> None:
    requests = [
        wire.call(
            "process/start",
            processId=f"p{i}",
            argv=["/bin/echo", str(i)],
            cwd=work.as_uri(),
            env={},
            tty=False,
            sandbox=writing(work) if i % 2 else READ_ONLY,
        )
        for i in range(8)
    ]
    answered: set[int] = set()
    while len([seen for seen in wire.seen.values() if seen.closed]) < 8:
        message = wire.step()
        if "id" in message:
            answered.add(message["id"])
        else:
            number = int(message["params"]["processId"].removeprefix("p"))
            assert requests[number] in answered
    assert [bytes(wire.seen[f"p{i}"].stdout) for i in range(8)] == [b"%d\n" % i for i in range(8)]


@pytest.mark.parametrize("change", [{"permissions": {"type": "other"}}, {"permissions": None}])
def test_a_sandbox_that_is_none_is_refused(node: NodeProcess, change: Json) -> None:
    with node.connect() as wire:
        refusal = wire.refused("process/start", **_starting(sandbox={**READ_ONLY, **change}))
        assert refusal.code == -32602
        relative = entry("/x", "read")
        relative["path"]["path"] = "x"
        refusal = wire.refused("process/start", **_starting(sandbox=managed(relative)))
        assert refusal.code == -32602
        assert wire.processes() == []


def _starting(**params: Any) -> Json:
    plain = {"processId": "p", "argv": ["true"], "cwd": "file:///", "env": {}, "tty": False}
    return plain | params


# --- inside ---------------------------------------------------------------------------------------


def test_a_client_of_the_plain_dialect_gets_namespaces(launch: Launch) -> None:
    node = launch(NodeSettings(), "ws://127.0.0.1:0")
    with node.connect(node.urls[1]) as wire:
        assert wire.start("touch /x", sandbox=READ_ONLY) == {
            "processId": "p",
            "sandboxType": "linuxSeccomp",
        }
        seen = wire.ended()
        assert b"Read-only file system" in seen.stderr
        seq = seen.seq - 1  # in how many pieces touch says it is its own matter; closed is the last
        assert seen.exited == {"processId": "p", "seq": seq, "exitCode": 1, "sandboxDenied": True}
    with node.connect(node.urls[1], additions=True) as wire:
        assert wire.start("true", sandbox=READ_ONLY)["sandbox"] == {"path": "landlock"}


def test_an_isolated_process_has_a_world_of_its_own(wire: Wire) -> None:
    answer = wire.start("sleep 1000 & echo $$", sandbox={**READ_ONLY, "isolate": True})
    assert answer["sandbox"] == {"path": "namespaces"}
    assert wire.ended().stdout == b"2\n"  # what it left ended with it


def test_what_may_be_written_is(wire: Wire, work: Path) -> None:
    (work / ".git").mkdir()
    script = (
        f"for f in {work}/new {work}/.git/x {work}/.codex /var/tmp/xs-no; do "
        "if touch $f 2>/dev/null; then echo ok; else echo no; fi; done; pwd"
    )
    seen = wire.run(script, cwd=work.as_uri(), sandbox=writing(work))
    assert seen.stdout.decode().split() == ["ok", "no", "no", "no", str(work)]
    assert sorted(each.name for each in work.iterdir()) == [".git", "new"]
    seen = wire.run(script, "r", cwd=work.as_uri(), sandbox=READ_ONLY)
    assert seen.stdout.decode().split() == ["no", "no", "no", "no", str(work)]


def test_a_folder_that_is_not_visible_is_not_where_it_begins(wire: Wire, work: Path) -> None:
    hidden = writing(work, entry("/var/tmp", "deny"), entry(work, "write"))
    assert wire.run("pwd", cwd="file:///var/tmp", sandbox=hidden).stdout == b"/\n"


def test_tmpdir_is_that_of_the_child(wire: Wire, work: Path) -> None:
    place = {"path": {"type": "special", "value": {"kind": "tmpdir"}}, "access": "write"}
    env = {"PATH": "/usr/bin:/bin", "TMPDIR": str(work)}
    assert wire.run("touch $TMPDIR/x", env=env, sandbox=managed(READ_ALL, place)).exit_code == 0
    assert (work / "x").exists()


def test_a_new_folder_in_the_root_is_seen_by_a_ruleset_made_before(
    node: NodeProcess,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes folders there")
    with node.connect() as wire:
        assert wire.run("true", "a", sandbox=READ_ONLY).exit_code == 0
        folder = Path(mkdtemp(prefix="xs-", dir="/"))
        try:
            (folder / "f").write_text("seen")
            seen = wire.run(["/bin/cat", str(folder / "f")], "b", sandbox=READ_ONLY)
        finally:
            shutil.rmtree(folder)
        assert seen.stdout == b"seen"


def test_all_that_a_start_may_ask_for(wire: Wire, work: Path) -> None:
    sandbox = writing(work)
    wire.start(
        "cat; ulimit -n",
        "in",
        sandbox=sandbox,
        pipeStdin=True,
        digest="sha256",
        limits={"rlimits": {"nofile": 200}},
    )
    wire.request("process/write", processId="in", chunk=b"hello\n", writeId="1")
    wire.request("process/closeStdin", processId="in")
    seen = wire.ended("in")
    assert seen.stdout == b"hello\n200\n"
    assert seen.closed is not None
    assert seen.closed["streams"]["stdout"]["digest"].startswith("sha256:")
    seen = wire.run("echo x; sleep 100", "late", sandbox=sandbox, timeoutMs=500)
    assert seen.exited is not None
    assert (seen.stdout, seen.exited["reason"]) == (b"x\n", "timeout")
    wire.start(
        "stty size; echo ready; read x; stty size",
        "t",
        sandbox=sandbox,
        tty=True,
        size={"rows": 30, "cols": 90},
    )
    wire.says(b"ready", "t")
    wire.request("process/resize", processId="t", size={"rows": 40, "cols": 100})
    wire.request("process/write", processId="t", chunk=b"\n", writeId="1")
    assert wire.ended("t").pty.split()[0:2] == [b"30", b"90"]
    assert wire.ended("t").pty.split()[-2:] == [b"40", b"100"]


@pytest.mark.parametrize("mode", ["1555", "0", "555"])
def test_the_next_one_gets_no_more(wire: Wire, work: Path, mode: str) -> None:
    """What a program has done to folders on the way to something hidden opens nothing."""
    files = {"way/secret": b"secret", ".git/config": b"kept"}
    for name, text in files.items():
        (work / name).parent.mkdir()
        (work / name).write_bytes(text)
        for path in (work / name, (work / name).parent):
            os.chown(path, work.stat().st_uid, -1)
    sandbox = writing(work, entry(work / "way/secret", "deny"))
    for folder in (work / "way", work):
        words = ["/bin/chmod", mode, str(folder)]
        assert wire.run(words, f"first {folder}", sandbox=sandbox).exit_code == 0
        script = f"chmod 755 {work} {work}/way; cat {work}/way/secret; echo x >{work}/.git/config"
        assert wire.run(script, f"second {folder}", sandbox=sandbox).stdout == b""
        secret = (work / "way/secret").as_uri()
        wire.refused("fs/readFile", path=secret, sandbox=sandbox)
        for each in (work, work / "way"):
            each.chmod(0o755)
    assert all((work / name).read_bytes() == text for name, text in files.items())


# --- its end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["landlock", "namespaces"])
def test_it_ends_as_without_a_sandbox(wire: Wire, work: Path, way: str) -> None:
    sandbox = READ_ONLY if way == "landlock" else writing(work)
    for name, script, code, number in (
        ("exit", "exit 7", 7, None),
        ("term", "kill -TERM $$", 143, "SIGTERM"),
        ("kill", "kill -KILL $$", 137, "SIGKILL"),
        ("sys", "kill -SYS $$", 159, "SIGSYS"),
    ):
        seen = wire.run(script, name, sandbox=sandbox)
        assert seen.exited is not None
        told = seen.exited["exitCode"], seen.exited.get("signal"), seen.exited["sandboxDenied"]
        assert told == (code, number, name == "sys")


@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.parametrize("name", ["interrupt", "TERM", "USR1"])
def test_signals_reach_the_program(wire: Wire, work: Path, name: str, tty: bool) -> None:
    caught = "INT" if name == "interrupt" else name
    script = f"trap 'echo caught; exit 5' {caught}; echo ready; while :; do sleep 0.01; done"
    wire.start(script, sandbox=writing(work), tty=tty)
    wire.says(b"ready")
    wire.request("process/signal", processId="p", signal=name)
    seen = wire.ended()
    assert b"caught" in seen.pty + seen.stdout
    assert seen.exit_code == 5


def test_control_c_at_a_terminal(wire: Wire, work: Path) -> None:
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.01; done"
    wire.start(script, sandbox=writing(work), tty=True)
    wire.says(b"ready")
    wire.request("process/write", processId="p", chunk=b"\x03", writeId="1")
    assert wire.ended().exit_code == 5


def test_it_stops_and_goes_on(wire: Wire, work: Path) -> None:
    wire.start(f"echo ready; while [ ! -e {work}/end ]; do :; done", sandbox=writing(work))
    wire.says(b"ready")
    wire.request("process/signal", processId="p", signal="STOP")
    assert eventually(lambda: _states(work, "sh") == {"T"})
    (work / "end").touch()
    wire.request("process/signal", processId="p", signal="CONT")
    assert wire.ended().exit_code == 0


def _states(work: Path, name: str) -> set[str]:
    """The states of the programs of this name whose command line has a folder's."""
    stats = [Path(f"/proc/{pid}/stat").read_text() for pid in _mentioning(work)]
    return {stat.rpartition(")")[2].split()[0] for stat in stats if f"({name})" in stat}


def test_terminate_ends_the_whole_tree(wire: Wire, work: Path) -> None:
    # The folder's name makes it known among all there are.
    script = f"sh -c 'sleep 1000; : {work}' & setsid sh -c 'sleep 1000; : {work}'"
    wire.start(script + "& echo ready; wait", sandbox=writing(work))
    wire.says(b"ready")
    assert len(_mentioning(work)) >= 2
    assert wire.request("process/terminate", processId="p")["running"] is True
    assert wire.ended().exit_code == 137
    assert eventually(lambda: not _mentioning(work))


def _mentioning(work: Path) -> list[int]:
    """The processes whose command line has the name of a folder."""
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    return [pid for pid in pids if os.fsencode(work) in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# --- starts that fail -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["landlock", "namespaces"])
def test_a_failed_start_is_told_as_without_a_sandbox(wire: Wire, work: Path, way: str) -> None:
    sandbox = READ_ONLY if way == "landlock" else writing(work)
    (work / "text").write_text("no program")
    (work / "text").chmod(0o755)
    for change in (
        {"argv": ["/nowhere/program"]},
        {"argv": ["no-such-program"]},
        {"argv": ["/etc/passwd"]},
        {"argv": [str(work / "text")]},
        {"cwd": (work / "none").as_uri()},
        {"cwd": (work / "text").as_uri()},
        {"argv": ["x" * 5000 + "/x"]},
        {"argv": ["/bin/true", "x" * (1 << 18)]},
    ):
        params = _starting(env={"PATH": "/usr/bin:/bin"}) | change
        plain = wire.refused("process/start", **params)
        refusal = wire.refused("process/start", **params, sandbox=sandbox)
        assert (refusal.code, refusal.message) == (plain.code, plain.message)
        assert refusal.data == plain.data
    assert wire.processes() == []
    assert wire.run("true").exit_code == 0


def test_a_program_that_is_not_visible_cannot_be_started(wire: Wire, work: Path) -> None:
    shutil.copy("/bin/true", work / "program")
    params = _starting(argv=[str(work / "program")], sandbox=managed(entry("/usr", "read")))
    refusal = wire.refused("process/start", **params)
    assert refusal.code == -32603
    assert refusal.data["stage"] == "execve"
    assert refusal.data["name"] == "ENOENT"


def test_nothing_is_left_of_starts_that_failed(node: NodeProcess, work: Path) -> None:
    with node.connect() as wire:
        wire.run("true", "w", sandbox=writing(work))
        before, children = node.descriptors(), node.children()
        for i in range(20):
            params = _starting(processId=f"p{i}", argv=["/nowhere"], sandbox=writing(work))
            assert wire.refused("process/start", **params).code == -32603
        assert eventually(lambda: node.holds_no_more_than(before))
        assert eventually(lambda: node.children() <= children)
        assert eventually(lambda: not list(work.iterdir()))


# --- starts that take their time ------------------------------------------------------------------


@contextmanager
def held_up(work: Path) -> Iterator[None]:
    """Starts wait here: a name that is to stay missing is in the hands of somebody else."""
    folder = work / ".codex"
    folder.mkdir()
    folder.chmod(0o1555)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def test_a_start_can_be_cancelled(wire: Wire, work: Path) -> None:
    with held_up(work):
        _cancel_a_start(wire, work)
    assert wire.run("true", sandbox=writing(work)).exit_code == 0


def _cancel_a_start(wire: Wire, work: Path) -> None:
    start = wire.call(
        "process/start", **_starting(argv=["/bin/sleep", "1000"], sandbox=writing(work))
    )
    again = wire.call("process/start", **_starting(sandbox=writing(work)))
    read = wire.call("process/read", processId="p")
    write = wire.call("process/write", processId="p", chunk=b"x", writeId="1")
    signalled = wire.call("process/signal", processId="p", signal="interrupt")
    end = wire.call("process/terminate", processId="p")
    assert wire.answer(end) == {"running": True}
    assert wire.answer(signalled) == {}
    assert wire.answer(write) == {"status": "starting"}
    for request, text in ((again, "already exists"), (read, "is starting"), (start, "cancelled")):
        with pytest.raises(Exception, match=text):
            wire.answer(request)
    assert wire.processes() == []


def test_a_connection_that_goes_takes_its_starts_along(node: NodeProcess, work: Path) -> None:
    before = node.descriptors()
    for _ in range(10):
        with node.connect() as wire:
            for i in range(4):
                wire.call(
                    "process/start",
                    **_starting(
                        processId=f"p{i}", argv=["/bin/sleep", "1000"], sandbox=writing(work)
                    ),
                )
    assert eventually(lambda: node.holds_no_more_than(before))
    assert eventually(lambda: not _mentioning(work))
    assert eventually(lambda: not list(work.iterdir()))


# --- denials --------------------------------------------------------------------------------------


def test_a_denial_is_guessed_from_what_was_said(wire: Wire, work: Path) -> None:
    for way, sandbox in (("landlock", READ_ONLY), ("namespaces", writing(work))):
        for name, script, denied in (
            ("said", "echo Permission Denied; exit 1", True),
            ("well", "echo permission denied; exit 0", False),
            ("other", "echo failed; exit 1", False),
            ("real", "touch /var/tmp/xs-not-here", True),
            ("long", "echo landlock; yes | head -c 300000; exit 3", True),
        ):
            seen = wire.run(script, name + way, sandbox=sandbox)
            assert seen.exited is not None
            assert seen.exited["sandboxDenied"] is denied, (name, way)
            read = wire.request("process/read", processId=name + way)
            assert read["sandboxDenied"] is denied
    assert {each["processId"] for each in wire.processes() if each.get("sandboxDenied")} == {
        name + way for name in ("said", "real", "long") for way in ("landlock", "namespaces")
    }
    seen = wire.run("echo permission denied; exit 1", "plain")
    assert seen.exited is not None
    assert seen.exited["sandboxDenied"] is False


# --- what the machine does not give ---------------------------------------------------------------


def without_namespaces() -> None:
    """Be root of a user namespace in which no mount namespace can be made (namespaces(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(0x10000000) != 0:  # CLONE_NEWUSER
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    Path("/proc/sys/user/max_mnt_namespaces").write_text("0")


def test_what_cannot_be_enforced_is_refused(launch: Launch, work: Path) -> None:
    node = launch(prepare=without_namespaces)
    with node.connect() as wire:
        refusal = wire.refused("process/start", **_starting(sandbox=writing(work)))
        assert refusal.code == -32603
        assert "namespaces" in refusal.message
        assert "--accept-missing" in refusal.message
        assert refusal.data["stage"] == "protection"
        assert wire.run("true", sandbox=READ_ONLY).exit_code == 0
        isolated = {**READ_ONLY, "isolate": True}
        refusal = wire.refused("process/start", **_starting(sandbox=isolated, processId="i"))
        assert "--accept-missing namespaces" in refusal.message


def test_files_do_without_namespaces_where_the_plan_does(launch: Launch, work: Path) -> None:
    node = launch(prepare=without_namespaces)
    with node.connect() as wire:
        path, data = (work / "x").as_uri(), b"x"
        params = {"path": path, "dataBase64": data, "sandbox": READ_ONLY}
        refusal = wire.refused("fs/writeFile", **params)
        assert "os error 13" in refusal.message
    assert not list(work.iterdir())


def test_an_accepted_loss_is_told_with_every_answer(launch: Launch, work: Path) -> None:
    settings = NodeSettings(execs=ExecSettings(accept_missing=("namespaces",)))
    node = launch(settings, prepare=without_namespaces)
    with node.connect() as wire:
        for name in ("a", "b"):
            answer = wire.start(f"touch {work}/x /var/tmp/xs-no", name, sandbox=writing(work))
            assert answer["sandbox"] == {"path": "landlock", "lost": ["namespaces"]}
            assert wire.ended(name).exit_code == 1
    assert [each.name for each in work.iterdir()] == ["x"]


# --- limits ---------------------------------------------------------------------------------------


def test_a_limit_that_cannot_be_had_is_refused_unless_it_is_optional(
    launch: Launch, work: Path
) -> None:
    node = launch(NodeSettings(execs=ExecSettings(cgroups=False)))
    with node.connect() as wire:
        for limits in ({"pids": 10}, {"memoryBytes": 1 << 26}, {"cpu": 0.5}):
            refusal = wire.refused("process/start", **_starting(limits=limits))
            assert refusal.code == -32600
            assert f"limits.{next(iter(limits))} cannot be had" in refusal.message
            params = {"limits": {**limits, "optional": list(limits)}, "sandbox": writing(work)}
            answer = wire.start("true", next(iter(limits)), **params)
            assert answer["unlimited"] == list(limits)
        for wrong in ({"pids": 0}, {"cpu": 0}, {"optional": ["nofile"]}):
            assert wire.refused("process/start", **_starting(limits=wrong)).code == -32602


def controllers() -> set[str]:
    found = [each / "cgroup.controllers" for each in own_cgroups()]
    return {word for each in found if each.exists() for word in each.read_text().split()}


def own_cgroups() -> list[Path]:
    return list(own_folders(*(Path("/proc/self", n).read_text() for n in ("mountinfo", "cgroup"))))


@pytest.mark.skipif("pids" not in controllers(), reason="cgroup v2 has no controller pids here")
def test_a_fork_bomb_is_bounded_by_its_cgroup(launch: Launch, work: Path) -> None:
    node = launch()
    with node.connect() as wire:
        bomb = "import os\nwhile True: os.fork()"
        limits = {"pids": 50}
        wire.start([PYTHON, "-c", bomb, str(work)], sandbox=writing(work), limits=limits)
        wire.says(b"BlockingIOError")
        assert len(_mentioning(work)) <= 53
        wire.request("process/terminate", processId="p")
        assert eventually(lambda: not _mentioning(work))


@pytest.mark.skipif("memory" not in controllers(), reason="cgroup v2 has no controller memory here")
def test_a_process_that_takes_too_much_memory_ends_by_it(launch: Launch, work: Path) -> None:
    with launch().connect() as wire:
        limits = {"memoryBytes": 64 << 20}
        seen = wire.run([PYTHON, "-c", "x = bytes(1 << 30)"], sandbox=writing(work), limits=limits)
        assert seen.exited is not None
        assert (seen.exit_code, seen.exited["reason"]) == (137, "oom")


def test_a_fork_bomb_is_bounded_for_a_user(launch: Launch, work: Path) -> None:
    if os.geteuid() != 0 or not reachable(HELPER):
        pytest.skip("it takes a user of its own")
    uid = 60_000 + os.getpid() % 5000  # RLIMIT_NPROC counts all processes of a user
    os.chown(work, uid, uid)
    with launch(uid=uid).connect() as wire:
        bomb = "import os\nwhile True: os.fork()"
        limits = {"rlimits": {"nproc": 60}}
        wire.start([PYTHON, "-c", bomb, str(work)], sandbox=writing(work), limits=limits)
        wire.says(b"BlockingIOError")
        assert len(_mentioning(work)) <= 60
        wire.request("process/terminate", processId="p")
        assert eventually(lambda: not _mentioning(work))


# --- what is left ---------------------------------------------------------------------------------


def test_a_denial_that_is_known_is_told(wire: Wire, work: Path) -> None:
    (work / ".git").mkdir()
    (work / ".git" / "config").touch()
    protected, hidden = work / ".git" / "config", work / "hidden"
    hidden.write_text("x")
    sandbox = writing(work, entry(hidden, "deny"))
    for name, script, path, right in (
        ("a", f"echo x > {protected}", protected, "write"),
        ("b", "touch .git/config", protected, "write"),
        ("c", "touch /var/tmp/xs-none", Path("/var/tmp/xs-none"), "write"),
        ("d", f"cat {hidden}", hidden, "read"),
    ):
        seen = wire.run(script, name, cwd=work.as_uri(), sandbox=sandbox)
        assert seen.exited is not None
        allow = entry(path, right)
        assert seen.exited["denial"] == {"path": path.as_uri(), "right": right, "allow": allow}
    seen = wire.run("echo permission denied; exit 1", "z", sandbox=sandbox)
    assert seen.exited is not None
    assert "denial" not in seen.exited


@pytest.mark.parametrize("end", ["exit", "terminate", "signal"])
def test_no_name_is_left_that_was_kept_from_being_made(wire: Wire, work: Path, end: str) -> None:
    wire.start("echo ready; read x", sandbox=writing(work), pipeStdin=True)
    wire.says(b"ready")
    assert {each.name for each in work.iterdir()} == {".git", ".agents", ".codex", ".aws"}
    if end == "exit":
        wire.request("process/closeStdin", processId="p")
    elif end == "terminate":
        wire.request("process/terminate", processId="p")
    else:
        wire.request("process/signal", processId="p", signal=signal.Signals(9).name)
    wire.ended()
    assert eventually(lambda: not list(work.iterdir()))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_no_name_is_left_when_the_node_ends(
    launch: Launch, work: Path, user: str, end: signal.Signals
) -> None:
    if user == "nobody" and (os.geteuid() != 0 or not reachable(HELPER)):
        pytest.skip("nobody cannot run a node here")
    node = launch(uid=NOBODY) if user == "nobody" else launch()
    with node.connect() as wire:
        for name in "abc":
            wire.start("echo ready; sleep 1000", name, sandbox=writing(work))
            wire.says(b"ready", name)
        assert {each.name for each in work.iterdir()} == {".git", ".agents", ".codex", ".aws"}
        os.kill(node.pid, end)
        assert eventually(lambda: not list(work.iterdir()))
