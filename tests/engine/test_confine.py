"""A function in a sandbox, called by a process that has been made for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_CALL = """
import json, os, sys, threading
from execnode.engine._confine import adopt_orphans, confined, die_with
die_with(os.getppid())
adopt_orphans()
told = os.dup(1)
options = [os.fsencode(word) for word in sys.argv[2:]] + [b"--pass-fd", b"%d" % told]
def tried(work):
    try:
        return work()
    except OSError as error:
        return error.errno
def look():
    found = {"pid": os.getpid(), "uid": os.getuid(), "root": tried(lambda: os.listdir("/usr")[:0])}
    found["tmp"] = tried(lambda: os.listdir("/tmp"))
    found["write"] = tried(lambda: os.mkdir("/usr/execnode-test"))
    done = threading.Thread(target=lambda: found.update(thread=True))
    done.start()
    done.join()
    os.write(told, json.dumps(found).encode())
    if sys.argv[1] == "raise":
        raise ValueError
os._exit(confined(options, look))
"""


def call(how: str, *options: str, status: int | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", _CALL, how, *options],
        capture_output=True,
        pass_fds=[] if status is None else [status],
        check=False,
    )


def test_it_sees_what_the_options_list() -> None:
    done = call("return", "--read", "/usr")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {
        "pid": found["pid"],
        "uid": os.getuid(),
        "root": [],
        "tmp": 2,
        "write": 30,
        "thread": True,
    }
    assert found["pid"] < 10


def test_an_exception_is_an_exit_code() -> None:
    assert call("raise", "--read", "/usr").returncode == 1


@pytest.mark.parametrize("option", ["--nonsense", "--cwd"])
def test_wrong_options_are_told(option: str) -> None:
    done = call("return", option)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"execnode-linux-sandbox" in done.stderr


def test_a_failure_is_told_as_by_the_helper(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reader, writer = os.pipe()
    way = f"{tmp_path}/file/x"
    done = call("return", "--status-fd", str(writer), "--literal", "--read", way, status=writer)
    os.close(writer)
    with os.fdopen(reader) as told:
        line = told.read()
    assert (done.returncode == 0) is (line == "")
