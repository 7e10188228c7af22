"""Answers the kernel's questions about execs of programs that cannot ask by themselves.

A filter of seccomp stops execve(2) until its listener has an answer, whoever calls it: static
programs, those that make system calls of their own, those that removed the interposer. "Run" lets
the kernel go on, and it then reads once more from the caller's memory what was judged here, which
another thread may have changed meanwhile: the sandbox must hold without this, seccomp_unotify(2).
"""

import errno
import fcntl
import logging
import os
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from execnode.engine._files import RESOLVE_IN_ROOT, openat2
from execnode.engine._notify import Listener, Notice, borrow_descriptor
from execnode.engine.programs import WRAPPER

from .permits import Permits
from .policy import Action, Deny, EscalationPolicy, Run, decide
from .protocol import ProtocolError
from .question import Question, Unreadable, is_check, process_of, read_question

__all__ = ["Supervisor"]

_logger = logging.getLogger(__name__)

_OPEN_MAX: Final = 64
"""Questions at once of one tree; the kernel keeps the others."""
_REASON_MAX: Final = 2000
_KIND: Final = Path("anon_inode:seccomp notify")


class Supervisor:
    """Answers one listener. `permits`: what wrappers were just let run, and is not asked again."""

    def __init__(self, policy: EscalationPolicy, permits: Permits) -> None:
        self._policy = policy
        self._permits = permits
        self._slots = anyio.Semaphore(_OPEN_MAX)

    async def serve(self, descriptor: int) -> None:
        """Answer until no process is left that asks; when cancelled, all further execs fail.

        descriptor: the listener, which is taken over. Raises ProtocolError when it is none.
        """
        listener = _adopt(descriptor)
        with listener:
            async with anyio.create_task_group() as tasks:
                while True:
                    await self._slots.acquire()
                    try:
                        notice = await _next(listener)
                    except (EOFError, OSError) as error:
                        _logger.debug("no more execs are heard of: %s", error)
                        break
                    tasks.start_soon(self._one, listener, notice)

    async def _one(self, listener: Listener, notice: Notice) -> None:
        try:
            await self._settle(listener, notice)
        except OSError as error:
            _logger.warning("an exec cannot be asked about, and fails: %s", error)
            listener.refuse(notice.cookie, errno.EACCES)
        finally:
            self._slots.release()

    async def _settle(self, listener: Listener, notice: Notice) -> None:
        if is_check(notice):
            listener.proceed(notice.cookie)
            return
        try:
            question = read_question(notice)
            missing = _missing(notice.thread, question.file)
        except Unreadable as error:
            _refuse(listener, notice, error.errno, b"", error.reason)
            return
        if not listener.waits(notice.cookie):
            return  # what was read may be another process's, of the same number
        if missing:
            _refuse(listener, notice, missing)
        elif self._known(notice, question):
            listener.proceed(notice.cookie)
        else:
            _obey(listener, notice, question, await self._decide(question))

    def _known(self, notice: Notice, question: Question) -> bool:
        """Whether the wrapper asks for it, or has asked."""
        return question.file == bytes(WRAPPER) or self._permits.take(
            notice.thread, question.file, question.argv
        )

    async def _decide(self, question: Question) -> Action | None:
        """What the policy says; None when the one who asked is gone before."""
        try:
            process = os.pidfd_open(question.process)
        except ProcessLookupError:
            return None
        try:
            gone = partial(anyio.wait_readable, process)
            return await decide(self._policy, question.file, question.argv, question.workdir, gone)
        finally:
            os.close(process)


def _adopt(descriptor: int) -> Listener:
    try:
        if Path(f"/proc/self/fd/{descriptor}").readlink() != _KIND:
            raise ProtocolError("a descriptor that is no listener")
        return Listener(descriptor)
    except BaseException:
        os.close(descriptor)
        raise


async def _next(listener: Listener) -> Notice:
    """The next question. Raises EOFError when there will be none."""
    while True:
        await anyio.wait_readable(listener)
        if notice := listener.receive():
            return notice


# A search along PATH ends with EPERM, and would go on to ask about the next file with EACCES.
def _obey(listener: Listener, notice: Notice, question: Question, action: Action | None) -> None:
    if isinstance(action, Run):
        listener.proceed(notice.cookie)
    elif isinstance(action, Deny):
        _refuse(listener, notice, errno.EPERM, question.file, action.reason)
    else:
        reason = "it would have to run outside, and whoever calls it did not ask by the wrapper"
        _refuse(listener, notice, errno.EPERM, question.file, reason)


def _refuse(
    listener: Listener, notice: Notice, error: int, file: bytes = b"", reason: str = ""
) -> None:
    if reason:
        _tell(notice.thread, file, reason)
    listener.refuse(notice.cookie, error)


def _tell(thread: int, file: bytes, reason: str) -> None:
    """Say why on the stderr of the one who asked, as the wrapper does, if that is possible at once.

    Opened anew, so that it does not block here whatever it does there; a socket cannot be. And only
    what is open for writing there: what we may write, the one who asked may perhaps just read.
    """
    text = b"execnode: " + (file + b": " if file else b"")
    text += reason.encode(errors="backslashreplace")[:_REASON_MAX] + b"\n"
    with suppress(OSError, Unreadable), ExitStack() as opened:
        process = os.pidfd_open(process_of(thread))
        opened.callback(os.close, process)
        theirs = borrow_descriptor(process, 2)
        opened.callback(os.close, theirs)
        mode = fcntl.fcntl(theirs, fcntl.F_GETFL)
        if mode & os.O_PATH or mode & os.O_ACCMODE == os.O_RDONLY:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        stderr = os.open(f"/proc/self/fd/{theirs}", flags)
        opened.callback(os.close, stderr)
        os.write(stderr, text)


def _missing(thread: int, file: bytes) -> int:
    """The errno of a file that is not there, for a search along PATH tries many; else 0.

    Links are followed as that process sees them, except those of /proc, which are its own.
    """
    if not file.startswith(b"/") or file.startswith(b"/proc/"):
        return 0
    try:
        root = os.open(f"/proc/{thread}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.close(openat2(root, file.lstrip(b"/") or b".", os.O_PATH, resolve=RESOLVE_IN_ROOT))
        finally:
            os.close(root)
    except OSError as error:
        return error.errno if error.errno in (errno.ENOENT, errno.ENOTDIR) else 0
    return 0
