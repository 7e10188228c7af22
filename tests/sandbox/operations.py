"""What can be done inside a sandbox: `python3 -I -S -c TEXT` tries it, and undoes what worked.

Stdin has a JSON object: `places`, paths of which each is tried in every way that its kind has;
`names`, paths that are not there and are tried to be made; `deeds`, names of functions here or in
attempts.py, whose text is `attempts`; `facts`, as attempts.py wants them. Stdout gets as much.

Whatever is tried does no harm where it works: what is outside of the tree `base` keeps its name,
and attempts, which may be worse, are refused where the process could do what only root can.
"""

import errno
import importlib.util
import json
import mmap
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

# Others probe the same folders at the same time.
MINE = f"made-by-{os.urandom(8).hex()}"
PLACEHOLDER = stat.S_IFDIR | stat.S_ISVTX | 0o555


def works(*steps: Callable[[], object]) -> bool:
    """Whether each step succeeds; the first that does not ends it."""
    try:
        for step in steps:
            step()
    except OSError:
        return False
    return True


# ---- files and folders ---------------------------------------------------------------------------


def rights(path: str, base: str) -> str:
    """What can be done with a path, a letter each; a link is followed, but for its own name.

    `r` it can be read, or listed. `w` it can be changed: written, cut and given a mode, or things
    be made in it. `d` it can be renamed and removed. `x` it can be run. `-` none of these.
    `0` there is no such thing. Where not all ways to change it work, those that do are named.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return "0"
    except OSError:
        return "-"
    folder = os.path.isdir(path)
    found = "r" if works(lambda: os.listdir(path) if folder else read(path)) else ""
    found += one_letter("w", folder_changes(path) if folder else file_changes(path))
    if path.startswith(f"{base}/"):
        found += one_letter("d", removals(path, mode))
    if stat.S_ISREG(mode) and mode & 0o111:
        found += "x" if works(lambda: subprocess.run([path], check=False)) else ""
    return found or "-"


def one_letter(letter: str, ways: dict[str, bool]) -> str:
    if all(ways.values()):
        return letter
    working = [way for way, worked in ways.items() if worked]
    return f"({' '.join(working)})" if working else ""


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def file_changes(path: str) -> dict[str, bool]:
    return {
        "write": works(lambda: os.close(os.open(path, os.O_WRONLY | os.O_APPEND))),
        "truncate": works(lambda: os.truncate(path, os.stat(path).st_size)),
        "chmod": works(lambda: os.chmod(path, stat.S_IMODE(os.stat(path).st_mode))),
        "utime": works(lambda: os.utime(path)),
    }


def folder_changes(path: str) -> dict[str, bool]:
    new = f"{path}/{MINE}"
    return {
        "create": works(lambda: create(new), lambda: os.unlink(new)),
        "mkdir": works(lambda: os.mkdir(new), lambda: os.rmdir(new)),
        "symlink": works(lambda: os.symlink("/", new), lambda: os.unlink(new)),
        "mkfifo": works(lambda: os.mkfifo(new), lambda: os.unlink(new)),
    }


def create(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def removals(path: str, mode: int) -> dict[str, bool]:
    aside = f"{path}-{MINE}"
    renamed = works(lambda: os.rename(path, aside), lambda: os.rename(aside, path))
    if stat.S_ISDIR(mode):  # what is in it is not to be lost
        return {"rename": renamed}
    os.umask(0)
    try:
        again = making_again(path, mode)
    except OSError:  # it cannot be read
        return {"rename": renamed}
    removed = works(lambda: os.unlink(path))
    if removed:
        again()
    return {"rename": renamed, "unlink": removed}


def making_again(path: str, mode: int) -> Callable[[], object]:
    """How to make a file or link again as it is now."""
    if stat.S_ISLNK(mode):
        target = os.readlink(path)
        return lambda: os.symlink(target, path)
    data = read(path)

    def make() -> None:
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, stat.S_IMODE(mode)), "wb") as file:
            file.write(data)

    return make


def makings(path: str) -> str:
    """`+` when something can be made where nothing is, `0` when not; or the ways that work."""
    beside = f"{os.path.dirname(path)}/{MINE}"
    ways = {
        "create": works(lambda: create(path), lambda: os.unlink(path)),
        "mkdir": works(lambda: os.mkdir(path), lambda: os.rmdir(path)),
        "symlink": works(lambda: os.symlink("/", path), lambda: os.unlink(path)),
        "link": works(
            lambda: create(beside), lambda: os.link(beside, path), lambda: os.unlink(path)
        ),
        "rename": works(lambda: os.rename(beside, path), lambda: os.unlink(path)),
    }
    works(lambda: os.unlink(beside))
    if not any(ways.values()) and os.path.lexists(path):
        assert os.lstat(path).st_mode & ~stat.S_ISGID == PLACEHOLDER, path
        assert not works(lambda: os.rmdir(path)), path
        assert not works(lambda: create(f"{path}/{MINE}")), path
    return one_letter("+", ways) or "0"


# ---- what people need ----------------------------------------------------------------------------


def use_devices(_: SimpleNamespace) -> None:
    for name, data in (("null", b""), ("zero", b"\0" * 8), ("full", b"\0" * 8)):
        with open(f"/dev/{name}", "r+b", buffering=0) as device:
            assert device.read(8) == data
            if name != "full":
                assert device.write(b"x") == 1
    for name in ("random", "urandom"):
        with open(f"/dev/{name}", "rb", buffering=0) as device:
            assert len(device.read(8)) == 8


def run_programs(_: SimpleNamespace) -> None:
    done = subprocess.run(["/bin/sh", "-c", "true | cat; exit 7"], check=False)
    assert done.returncode == 7


def use_threads(_: SimpleNamespace) -> None:
    threads = [threading.Thread(target=os.getpid) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def signal_a_child(_: SimpleNamespace) -> None:
    child = subprocess.Popen(["/bin/sleep", "60"])
    child.send_signal(signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM


def see_own_processes(_: SimpleNamespace) -> None:
    with open("/proc/self/status") as status:
        assert f"Pid:\t{os.getpid()}\n" in status.readlines()
    assert str(os.getpid()) in os.listdir("/proc")
    assert os.listdir("/proc/self/fd")


def map_memory(_: SimpleNamespace) -> None:
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as memory:
        memory.write(b"x")
    os.close(os.memfd_create("x"))


def use_a_socket_pair(_: SimpleNamespace) -> None:
    ours, theirs = socket.socketpair()
    ours.send(b"x")
    assert theirs.recv(1) == b"x"


def open_a_terminal(_: SimpleNamespace) -> None:
    ours, theirs = os.openpty()
    os.write(theirs, b"x")
    assert os.read(ours, 1) == b"x"
    assert os.ttyname(theirs).startswith("/dev/pts/")


def share_memory(_: SimpleNamespace) -> None:
    create("/dev/shm/" + MINE)
    os.unlink("/dev/shm/" + MINE)


def listen_here(_: SimpleNamespace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def make_a_socket_of_version_6(_: SimpleNamespace) -> None:
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()


def connect_outside(w: SimpleNamespace) -> None:
    socket.create_connection(("127.0.0.1", w.port), timeout=10).close()


# ---- the program ---------------------------------------------------------------------------------


def outcome(deed: Callable[[SimpleNamespace], object], facts: SimpleNamespace) -> str:
    """`ok`, or what was in its way; in a process of its own, since some deeds end it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open("/dev/null", os.O_RDWR), 2)
        try:
            deed(facts)
            said = "ok"
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, type(error).__name__)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return text or (signal.Signals(-code).name if code < 0 else f"exit code {code}")


def attempts_of(text: str) -> ModuleType:
    """The module attempts.py. Raises RuntimeError where its functions might succeed as root."""
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    if status["NoNewPrivs"] != "1" or int(status["CapEff"], 16):
        raise RuntimeError("attempts are for processes that are confined")
    spec = importlib.util.spec_from_loader("attempts", None)
    assert spec
    module = importlib.util.module_from_spec(spec)
    exec(text, module.__dict__)
    return module


def main() -> None:
    asked = json.load(sys.stdin)
    attempts = attempts_of(asked["attempts"]) if asked["attempts"] else None
    facts = SimpleNamespace(**asked["facts"])
    told = {
        "places": {path: rights(path, asked["base"]) for path in asked["places"]},
        "names": {path: makings(path) for path in asked["names"]},
        "deeds": {
            name: outcome(globals().get(name) or getattr(attempts, name), facts)
            for name in asked["deeds"]
        },
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
