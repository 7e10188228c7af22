"""Exceptions are what existing except clauses expect, and survive pickling."""

import errno
import os
import pickle
import subprocess
from typing import Any

import pytest

from execnode.client import CalledProcessError, SessionLost, StartError, TimeoutExpired
from execnode.client.errors import start_error
from execnode.protocol.errors import RpcError, spawn_failed, unknown_process


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, FileNotFoundError),
        (errno.EACCES, PermissionError),
        (errno.EPERM, PermissionError),
        (errno.ENOTDIR, NotADirectoryError),
        (errno.EAGAIN, BlockingIOError),
        (errno.E2BIG, OSError),
    ],
)
def test_a_start_error_is_of_the_class_of_its_errno(number: int, kind: type[OSError]) -> None:
    error = start_error(spawn_failed("execve", number), "prog", "/dir")
    assert isinstance(error, StartError)
    assert isinstance(error, kind)
    assert (error.errno, error.stage, error.filename) == (number, "execve", "prog")
    assert str(error) == f"[Errno {number}] execve: {os.strerror(number)}: 'prog'"


def test_a_start_error_names_the_folder_when_that_is_at_fault() -> None:
    error = start_error(spawn_failed("chdir", errno.ENOENT), "prog", "/dir")
    assert error is not None
    assert error.filename == "/dir"


def test_other_answers_are_no_start_errors() -> None:
    assert start_error(unknown_process("1"), "prog", "/dir") is None
    assert start_error(RpcError(-32603, "?", {"errno": "2"}), "prog", "/dir") is None


def test_a_failed_command_is_a_called_process_error() -> None:
    assert issubclass(CalledProcessError, subprocess.CalledProcessError)
    assert issubclass(TimeoutExpired, subprocess.TimeoutExpired)
    assert "returned non-zero exit status 3" in str(CalledProcessError(3, ["x"], b"", b"", "exit"))
    assert "ended with code 137 by oom" in str(CalledProcessError(137, ["x"], b"", b"", "oom"))


def test_exceptions_survive_pickling() -> None:
    start = start_error(spawn_failed("execve", errno.ENOENT), "prog", "/dir")
    assert start is not None
    again: Any = pickle.loads(pickle.dumps(start))
    assert type(again) is type(start)
    assert (str(again), again.stage) == (str(start), "execve")
    called = pickle.loads(pickle.dumps(CalledProcessError(137, ["x"], b"o", b"e", "oom")))
    assert (called.returncode, called.stderr, called.reason) == (137, b"e", "oom")
    late = pickle.loads(pickle.dumps(TimeoutExpired(["x"], 1.5, b"o", b"e")))
    assert (late.timeout, late.stdout, late.stderr) == (1.5, b"o", b"e")
    lost = pickle.loads(pickle.dumps(SessionLost("gone", ["1: make"])))
    assert (str(lost), lost.processes) == ("gone; lost with it: 1: make", ["1: make"])
