"""The library that has unmodified programs ask: what it keeps, and what it leaves alone."""

import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from execnode.engine.programs import INTERPOSER, WRAPPER
from execnode.environment.local.runner import LocalRunner
from execnode.environment.services import Environment
from execnode.escalation import Action, Deny, Run, variables
from tests.escalation.callers import SPAWNS, WAYS, Programs
from tests.escalation.interception import Ended, Interception, collect, interception, run

pytestmark = pytest.mark.trio

HERE = bytes(Path.cwd())


async def interposed(argv: Sequence[str], **options: Any) -> tuple[Ended, Interception]:
    """Run it with the interposer, where everything may run."""
    async with interception(run, interpose=True) as inside:
        ended = await collect(await inside.start(argv, **options))
    return ended, inside


async def plainly(argv: Sequence[str], **options: Any) -> Ended:
    """Run it with nobody in between."""
    async with Environment.local() as machine:
        assert isinstance(machine.exec, LocalRunner)
        return await collect(await machine.exec.start(argv, **options))


def files(inside: Interception) -> list[str]:
    return [os.fsdecode(file) for file, _, _ in inside.policy.asked]


# --- errors are the caller's, as without it -------------------------------------------------------


@pytest.fixture
def unlikely(tmp_path: Path) -> dict[str, Path]:
    """Files that cannot be executed, each for a reason of its own."""
    contents = {
        "data": b"neither a program nor a script",
        "empty": b"",
        "lost": b"#!/nowhere/interpreter\n",
        "refused": b"#!/etc/passwd -x\n",
        "nameless": b"#! \n",
        "endless": b"#!/" + b"x" * 300,
        "plain": b"#!/bin/sh\n",
    }
    made = {name: tmp_path / name for name in contents}
    for name, content in contents.items():
        made[name].write_bytes(content)
        made[name].chmod(0o644 if name == "plain" else 0o755)
    made["folder"] = tmp_path
    made["none"] = tmp_path / "none"
    made["below"] = tmp_path / "data" / "below"
    made["loop"] = tmp_path / "loop"
    made["loop"].symlink_to("loop")
    made["fifo"] = tmp_path / "fifo"
    os.mkfifo(made["fifo"], 0o755)
    return made


@pytest.mark.parametrize("way", ["execve", "execvp", "posix_spawn", "posix_spawnp", "execveat"])
async def test_what_cannot_be_executed_is_an_error_of_the_call(
    way: str, programs: Programs, unlikely: dict[str, Path]
) -> None:
    if way == "execveat":
        del unlikely["refused"]  # no script can be executed below a folder that is closed on exec
    for name, path in unlikely.items():
        argv = [programs.caller, way, str(path), "zork", "x", "y"]
        plain = await plainly(argv)
        ended, inside = await interposed(argv)
        assert (ended.code, ended.out, ended.err) == (plain.code, plain.out, plain.err), name
        scripts = ["/bin/sh"] if way == "execvp" and name in ("data", "empty") else []
        assert [file for file in files(inside) if "nowhere" not in file][: len(scripts)] == scripts


@pytest.mark.parametrize("way", ["execvp", "execvpe", "execlp", "posix_spawnp"])
async def test_the_search_goes_on_behind_what_cannot_be_executed(
    way: str, programs: Programs, tmp_path: Path
) -> None:
    good, refused, folder = (tmp_path / name for name in ("good", "refused", "folder"))
    for each in (good, refused, folder / "uname"):
        each.mkdir(parents=True)
    (refused / "uname").touch()
    (good / "uname").symlink_to("/bin/uname")
    path = f"/nowhere:/etc/passwd:{folder}:{refused}:{good}:/bin"
    argv = [programs.caller, way, "uname", "zork", "-s", "-m"]
    ended, inside = await interposed(argv, extra_env={"PATH": path})
    assert ended.out.startswith("Linux ")
    ((file, words, _),) = inside.policy.asked
    assert (file, words) == (b"%s/uname" % bytes(good), [b"zork", b"-s", b"-m"])


async def test_the_search_ends_as_in_the_c_library(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "refused").touch()
    for path, name in [
        (f"{tmp_path}:/bin", "refused"),
        ("/nowhere", "uname"),
        ("", "uname"),
        ("/bin", ""),
        ("/bin", "x" * 300),
        ("x" * 5000 + ":/bin", "nonesuch"),
    ]:
        argv = [programs.caller, "execvp", name, "zork", "x", "y"]
        plain = await plainly(argv, extra_env={"PATH": path})
        ended, _ = await interposed(argv, extra_env={"PATH": path})
        assert (ended.code, ended.err) == (plain.code, plain.err), (path[:20], name[:20])


async def test_a_relative_file_is_where_the_child_will_be(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "here").symlink_to("/bin/echo")
    code = "import subprocess; subprocess.run(['./here', 'found'], cwd='below')"
    ended, inside = await interposed([sys.executable, "-ISc", code], cwd=tmp_path)
    assert ended.out == "found\n", ended.err
    assert (f"{tmp_path}/below/./here") in files(inside)


async def test_a_file_may_be_called_like_an_option(tmp_path: Path) -> None:
    for name in ("--", "--supervise", "-x"):
        (tmp_path / name).symlink_to("/bin/echo")
        code = f"import os; os.execv({name!r}, ['zork', {name!r}, 'found'])"
        ended, inside = await interposed([sys.executable, "-ISc", code], cwd=tmp_path)
        assert ended.out == f"{name} found\n", ended.err
        assert files(inside) == [f"{tmp_path}/{name}"]


async def test_a_program_without_a_name_is_executed() -> None:
    code = """
import os
fd = os.memfd_create("nameless")
with open("/bin/echo", "rb") as echo:
    os.write(fd, echo.read())
os.execve(fd, ["zork", "fine"], {})
"""
    ended, inside = await interposed([sys.executable, "-ISc", code])
    assert ended.out == "fine\n", ended.err
    assert inside.policy.asked[0][0].startswith(b"/proc/self/fd/")


# --- what it keeps --------------------------------------------------------------------------------


async def test_a_cleared_environment_gets_what_is_needed_and_no_more() -> None:
    ended, inside = await interposed(["/usr/bin/env", "-i", "A=1", "LD_PRELOAD=", "/usr/bin/env"])
    found = dict(line.split("=", 1) for line in ended.out.splitlines())
    ours = {os.fsdecode(name): os.fsdecode(value) for name, value in inside.server.env.items()}
    assert found == {"A": "1", **ours, "EXECNODE_ESCALATE_FD": "900"}


@pytest.mark.parametrize("separator", [":", " "])
async def test_other_libraries_are_loaded_too(separator: str) -> None:
    other = "libm.so.6"
    script = "echo $LD_PRELOAD; /usr/bin/env | grep ^LD_PRELOAD; exit 0"
    code = f"import os; os.execve('/bin/sh', ['sh', '-c', {script!r}], {{'LD_PRELOAD': {other!r}}})"
    ended, _ = await interposed([sys.executable, "-ISc", code])
    assert ended.out == f"{INTERPOSER}:{other}\nLD_PRELOAD={INTERPOSER}:{other}\n"
    both = f"{other}{separator}{INTERPOSER}"
    code = code.replace(f"'{other}'}}", f"'{both}'}}")
    ended, _ = await interposed([sys.executable, "-ISc", code])
    assert ended.out == f"{both}\nLD_PRELOAD={both}\n"


async def test_scripts_may_use_low_descriptors() -> None:
    script = "exec 3>&1 4>&1; uname >&3; exec 3>&-; /bin/echo again >&4"
    ended, inside = await interposed(["/bin/bash", "-c", script])
    assert (ended.out, ended.err) == ("Linux\nagain\n", "")
    assert files(inside)[-1] == "/bin/echo"


async def test_a_low_limit_of_descriptors_is_no_obstacle() -> None:
    script = "ulimit -n 64; exec /bin/sh -c 'uname; echo $EXECNODE_ESCALATE_FD'"
    async with interception(run) as inside:
        extra = {"LD_PRELOAD": str(INTERPOSER)}
        argv = [
            "/usr/bin/env",
            "-u",
            "LD_PRELOAD",
            "/bin/sh",
            "-c",
            f"LD_PRELOAD={INTERPOSER}; {script}",
        ]
        ended = await collect(await inside.start(argv, extra_env=extra))
    assert ended.out.splitlines()[0] == "Linux", ended.err


async def test_without_the_socket_nothing_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"""
import ctypes, os, subprocess
ctypes.CDLL(None).syscall(3 if os.uname().machine == "x86_64" else 57, 900)
print(subprocess.run(["/bin/touch", {str(mark)!r}]).returncode)
"""
    ended, inside = await interposed([sys.executable, "-ISc", code])
    assert ended.out == "125\n"
    assert "nothing is run" in ended.err
    assert not mark.exists()
    assert files(inside) == []


async def test_the_wrapper_is_not_wrapped() -> None:
    ended, inside = await interposed(["/bin/sh", "-c", '"$EXEC_WRAPPER" /bin/echo zork once'])
    assert (ended.code, ended.out) == (0, "once\n"), ended.err
    assert inside.policy.asked == [(b"/bin/echo", [b"zork", b"once"], HERE)]


async def test_without_a_server_it_does_nothing() -> None:
    env = {"LD_PRELOAD": str(INTERPOSER), "PATH": os.defpath}
    script = "uname; env; exec 9>&1; echo x >&9"
    done = await anyio.run_process(["/bin/sh", "-c", script], env=env)
    assert done.stdout.startswith(b"Linux\n")
    assert done.stdout.endswith(b"x\n")
    assert b"EXEC" not in done.stdout
    assert done.stderr == b""


# --- what else is not different -------------------------------------------------------------------


async def test_the_pager_of_git_asks_too(tmp_path: Path) -> None:
    await anyio.run_process(["git", "init", "-q", str(tmp_path)])
    async with interception(run, interpose=True) as inside:
        argv = ["git", "-C", str(tmp_path), "-p", "status"]
        process = await inside.start(
            argv, tty=True, extra_env={"GIT_PAGER": "/usr/bin/tr a-z A-Z", "TERM": "xterm"}
        )
        ended = await collect(process)
    assert "NO COMMITS YET" in ended.out
    assert "/usr/bin/tr" in files(inside)


async def test_children_of_make_that_run_at_once_are_all_asked_about(tmp_path: Path) -> None:
    names = " ".join(f"t{number}" for number in range(12))
    (tmp_path / "Makefile").write_text(f"all: {names}\n{names}:\n\t@/bin/echo $@\n")
    ended, inside = await interposed(["make", "-sj4", "-C", str(tmp_path)])
    assert sorted(ended.out.split()) == sorted(names.split())
    assert files(inside).count("/bin/echo") == 12


async def test_descriptors_do_not_leak_into_a_parent_that_spawns_often(programs: Programs) -> None:
    code = """
import os, subprocess
before = sorted(os.listdir("/proc/self/fd"))
for _ in range(50):
    subprocess.run(["/bin/true"])
    os.waitpid(os.posix_spawnp("true", ["true"], {}), 0)
    try:
        subprocess.run(["/nowhere"])
    except FileNotFoundError:
        pass
print(before == sorted(os.listdir("/proc/self/fd")))
"""
    ended, inside = await interposed([sys.executable, "-ISc", code])
    assert ended.out == "True\n", ended.err
    assert len(files(inside)) == 100


@pytest.mark.parametrize("way", [*WAYS, *SPAWNS])
async def test_many_arguments_and_variables_pass(way: str, programs: Programs) -> None:
    many = [f"{number}" * 10 for number in range(5000)]
    env = {f"V{number}": "x" * 20 for number in range(3000)}
    async with interception(run, interpose=True) as inside:
        process = await inside.start(
            [programs.caller, way, "/bin/echo", "zork", *many], extra_env=env
        )
        ended = await collect(process)
    words = ended.out.split()
    assert words in (many, many[:2], many[:1]), ended.err
    assert [os.fsdecode(word) for word in inside.policy.asked[0][1][1:]] == words


async def test_denied_is_denied_for_what_the_shell_of_the_c_library_runs() -> None:
    def decide(file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        return Deny("no shell") if file == b"/bin/sh" else Run()

    code = "import os; os.environ.clear(); print(os.system('echo \"it\\'s $HOME\"'))"
    async with interception(decide, interpose=True) as inside:
        ended = await collect(await inside.start([sys.executable, "-ISc", code]))
    assert ended.out == "256\n"
    assert "no shell" in ended.err
    assert inside.policy.asked == [(b"/bin/sh", [b"sh", b"-c", b'echo "it\'s $HOME"'], HERE)]


async def test_it_is_small_and_needs_the_c_library_alone() -> None:
    needed = (await anyio.run_process(["readelf", "-d", str(INTERPOSER)])).stdout.decode()
    libraries = re.findall(r"NEEDED.*\[(.*)\]", needed)
    assert set(libraries) <= {"libc.so.6", "libdl.so.2"}
    assert INTERPOSER.stat().st_size < 64 * 1024
    assert INTERPOSER.stat().st_mode & stat.S_IRUSR


async def test_a_path_that_the_loader_would_split_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for path in ("/a folder/lib.so", "/a:b/lib.so"):
        monkeypatch.setattr(variables, "INTERPOSER", Path(path))
        with pytest.raises(ValueError, match="would split"):
            variables.intercepted(3, interpose=True)
        assert variables.intercepted(3)[b"EXEC_WRAPPER"] == bytes(WRAPPER)
