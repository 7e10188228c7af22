"""The process that workers are forked from. It is run by the node as `python -m`.

Standard input is a socket to the node. Each message there asks for a worker: three descriptors come
along, a file with the options of execnode-linux-sandbox, each ended by a NUL, the worker's end of
its socket to the node, and where the sandbox tells what becomes of it (--status-fd).
"""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from typing import Final

from execnode.engine._confine import adopt_orphans, confined, die_with
from execnode.environment.local import plugins
from execnode.environment.local.confined.worker import work
from execnode.environment.local.files import (
    copy,
    extract,
    names,
    opening,
    pack,
    remove,
    walk,
    watching,
    ways,
    whole,
)

__all__ = ["main"]

# Workers can import nothing, so what they are to call is here.
_MODULES: Final = (
    *(copy, extract, names, opening, pack, plugins, remove, walk, watching, ways, whole),
)
# Seconds that workers have to end when the node is gone.
_PATIENCE: Final = 2
_LINK, _STATUS, _REST = 3, 4, 5


def main(node: int) -> None:
    """Serve the node, of which this is the pid, until it is gone."""
    die_with(node)
    adopt_orphans()  # of workers that are killed, lest they come to the node
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    os.chdir("/")
    gc.collect()
    gc.freeze()  # or collections in workers would copy all of it
    orders = socket.socket(fileno=0)
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, 1, 3)
        if not message:
            break
        if len(descriptors) == 3 and os.fork() == 0:
            os._exit(_launch(*descriptors))
        for descriptor in descriptors:
            os.close(descriptor)
    signal.alarm(_PATIENCE)
    with suppress(ChildProcessError):
        os.wait()


def _launch(options: int, link: int, status: int) -> int:
    """In a fork: become the launcher of a worker; returns its exit code."""
    die_with(_parent)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with open(options, "rb") as file:
        words = file.read().split(b"\0")[:-1]
    # First out of the way of the numbers that they are to have.
    link, status = (fcntl.fcntl(each, fcntl.F_DUPFD, 64) for each in (link, status))
    os.dup2(1, 0)
    os.dup2(link, _LINK)
    os.dup2(status, _STATUS)
    _close_from(_REST)
    words += [b"--status-fd", b"%d" % _STATUS, b"--pass-fd", b"%d" % _LINK]
    return confined(words, _work)


def _work() -> None:
    _close_from(_LINK + 1)
    work(socket.socket(fileno=_LINK))


def _close_from(first: int) -> None:
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


_parent = os.getpid()

if __name__ == "__main__":
    main(int(sys.argv[1]))
