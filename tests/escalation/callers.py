"""Programs that execute a program, each in its way, and what that program then says of itself."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.escalation.interception import Ended
from tests.escalation.shells.building import BASH, ZSH, Shell, built

FOLDER = Path(__file__).parent
OURS = re.compile(r"env <(LD_PRELOAD|EXEC_WRAPPER|BASH_EXEC_WRAPPER|EXECNODE_ESCALATE_FD)=")

PYTHON = """
import os, signal, subprocess, sys
probe, *args = sys.argv[1:]
def end(code):
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
"""


@dataclass(frozen=True)
class Programs:
    """The programs of a test, compiled; `folder` is also where they may write."""

    folder: Path
    probe: str
    caller: str
    static_caller: str

    @classmethod
    def compile(cls, folder: Path) -> "Programs":
        """Compile them. Raises CalledProcessError when the compiler refuses."""
        compiler = [os.environ.get("CC", "cc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror"]

        def made(name: str, source: str, *flags: str) -> str:
            target = str(folder / name)
            subprocess.run([*compiler, *flags, "-o", target, str(FOLDER / source)], check=True)
            return target

        return cls(
            folder,
            made("probe", "probe.c"),
            made("caller", "caller.c"),
            made("static-caller", "caller.c", "-static"),
        )


Argv = Callable[[Programs, Sequence[str]], list[str]]


@dataclass(frozen=True)
class Caller:
    """One way to have the probe executed with some arguments.

    ends_alike: whether it ends with the probe's exit code or signal. times: how often it is run.
    """

    name: str
    argv: Argv
    ends_alike: bool = True
    times: int = 1
    shell: Shell | None = None


def way(name: str, *, static: bool = False, times: int = 1) -> Caller:
    """By tests/escalation/caller.c."""

    def argv(programs: Programs, args: Sequence[str]) -> list[str]:
        caller = programs.static_caller if static else programs.caller
        return [caller, name, programs.probe, "zork", *args]

    return Caller(name, argv, times=times)


def script(name: str, text: str, *head: str, shell: Shell | None = None) -> Caller:
    """A script of a shell, which has the probe as $0 and its arguments as $@."""

    def argv(programs: Programs, args: Sequence[str]) -> list[str]:
        program = head or (patched(shell),)
        return [*program, "-c", text, programs.probe, *args]

    return Caller(name, argv, shell=shell)


def patched(shell: Shell | None) -> str:
    """The path of a patched shell; fails the test where it was not built."""
    program = built(shell) if shell else None
    assert shell is None or program, f"no patched {shell and shell.name}: run `make shells`"
    return str(program)


def python(name: str, code: str) -> Caller:
    """A Python program."""
    return Caller(
        name, lambda programs, args: [sys.executable, "-ISc", PYTHON + code, programs.probe, *args]
    )


def make(programs: Programs, args: Sequence[str]) -> list[str]:
    makefile = programs.folder / f"Makefile-{os.getpid()}"
    quoted = " ".join(f"'{arg}'" for arg in args)
    makefile.write_text(
        f"all:\n\t@{programs.probe} {quoted}\nplain:\n\t@{programs.probe} one two\n"
    )
    return ["make", "-sf", str(makefile), "all", "plain"]


def git_alias(programs: Programs, args: Sequence[str]) -> list[str]:
    return ["git", "-c", f"alias.x=!{programs.probe} here", "x", *args]


def git_command(programs: Programs, args: Sequence[str]) -> list[str]:
    path = f"PATH={programs.folder}:{os.defpath}"
    command = programs.folder / "git-probe"
    if not command.exists():
        command.symlink_to(programs.probe)
    return ["env", path, "git", "probe", *args]


def git_hook(programs: Programs, args: Sequence[str]) -> list[str]:
    repository = programs.folder / "repository"
    hook = repository / ".git/hooks/pre-commit"
    if not hook.exists():
        subprocess.run(["git", "init", "-q", str(repository)], check=True)
        hook.unlink(missing_ok=True)
        hook.symlink_to(programs.probe)
    return ["git", "-C", str(repository), "hook", "run", "pre-commit", "--", *args]


EXEC_A = 'exec -a zork "$0" "$@"'
CHILD = '"$0" "$@"; exit $?'
BOTH = '(exec -a zork "$0" "$@"); code=$?; "$0" one | cat; exit $code'

PATCHED = [
    script("bash-exec", EXEC_A, shell=BASH),
    script("bash-child", CHILD, shell=BASH),
    script("zsh-exec", EXEC_A, shell=ZSH),
    script("zsh-child", 'ARGV0=zork "$0" "$@"; exit $?', shell=ZSH),
]
"""Shells that execute the wrapper by themselves."""

WAYS = ["execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "fexecve", "execveat"]
SPAWNS = ["posix_spawn", "posix_spawnp"]

INTERPOSED = [
    *map(way, [*WAYS, *SPAWNS, "system", "popen"]),
    way("vfork-close", times=2),
    way("vfork-closefrom", times=2),
    script("stock-bash-exec", EXEC_A, "/bin/bash"),
    script("stock-bash-child", CHILD, "/bin/bash"),
    script("sh", CHILD, "/bin/sh"),
    script("patched-bash-too", EXEC_A, shell=BASH),
    python(
        "subprocess",
        "env = dict(os.environ, MINE='1')\n"
        "end(subprocess.run(['zork', *args], executable=probe, env=env, cwd='/usr').returncode)",
    ),
    python(
        "subprocess-env", "end(subprocess.run([probe, *args], env={'ONLY': 'this'}).returncode)"
    ),
    python(
        "subprocess-open",
        "end(subprocess.run([probe, *args], close_fds=False, start_new_session=True).returncode)",
    ),
    python(
        "subprocess-shell", "end(subprocess.run(f'{probe} here; exit $?', shell=True).returncode)"
    ),
    python("os.execve", "os.execve(probe, ['zork', *args], {'ONLY': 'this'})"),
    python("os.execvp", "os.execvp(probe, ['zork', *args])"),
    python("os.execve-fd", "os.execve(os.open(probe, os.O_RDONLY), ['zork', *args], {})"),
    python(
        "os.posix_spawn",
        "pid = os.posix_spawn(probe, ['zork', *args], {}, setsigmask=[signal.SIGUSR2],\n"
        "    file_actions=[(os.POSIX_SPAWN_OPEN, 8, '/dev/null', os.O_RDONLY, 0)])\n"
        "end(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
    ),
    python("os.system", "end(os.waitstatus_to_exitcode(os.system(f'exec {probe} here')))"),
    Caller("make", make, ends_alike=False),
    Caller("git-alias", git_alias, ends_alike=False),
    Caller("git-command", git_command, ends_alike=False),
    Caller("git-hook", git_hook, ends_alike=False),
    Caller("env", lambda programs, args: ["env", "-i", "ONLY=this", programs.probe, *args]),
    Caller(
        "xargs",
        lambda programs, args: ["xargs", "-a", "/dev/null", programs.probe, *args],
        ends_alike=False,
    ),
    Caller(
        "find",
        lambda programs, args: [
            *("find", programs.probe, "-exec", programs.probe, *args, "{}", ";"),
        ],
        ends_alike=False,
    ),
]
"""Unmodified programs, with the interposer."""

SUPERVISED = [
    *(way(name, static=True) for name in [*WAYS, *SPAWNS, "system", "popen", "syscall"]),
    way("vfork-close", static=True, times=2),
    script("sh", CHILD, "/bin/sh"),
]
"""Static programs, and those without an interposer, under the kernel's supervision."""


@dataclass(frozen=True)
class Said:
    """What the probe said, without what an interceptor needs, and its descriptors apart."""

    lines: tuple[str, ...]
    descriptors: frozenset[int]

    @classmethod
    def of(cls, ended: Ended) -> "Said":
        text = ended.out + ended.err  # where git has a hook write both
        lines = [line for line in text.splitlines() if not OURS.match(line)]
        numbers = frozenset(int(line[3:]) for line in lines if line.startswith("fd "))
        return cls(tuple(line for line in lines if not line.startswith("fd ")), numbers)

    def outside(self) -> list[str]:
        """What holds outside as well: the server starts it with an environment and signals anew."""
        return [line for line in self.lines if line.split()[0] not in ("env", "blocked", "ignored")]
