"""The variables of an intercepted process, and those that a program outside gets of them."""

import re
from collections.abc import Iterable
from typing import Final

from execnode.engine.programs import INTERPOSER, WRAPPER

__all__ = ["DESCRIPTOR", "PRELOAD", "WRAPPERS", "intercepted", "outside"]

DESCRIPTOR: Final = b"EXECNODE_ESCALATE_FD"
"""Has the number of the inherited socket."""
WRAPPERS: Final = (b"EXEC_WRAPPER", b"BASH_EXEC_WRAPPER")
"""Have the wrapper's path: what a shell executes instead of a program."""
PRELOAD: Final = b"LD_PRELOAD"
"""Has the interposer's path, ld.so(8)."""

# With these the one who asks would choose code that runs inside the program that was decided about:
# what ld.so(8) ignores in set-user-ID programs, what shells and interpreters load or run when they
# start, what git and less run on the way. No such list is complete.
_FOREIGN_CODE: Final = re.compile(
    rb"LD_.*|GCONV_PATH|GETCONF_DIR|GLIBC_TUNABLES|HOSTALIASES|LOCALDOMAIN|LOCPATH|MALLOC_TRACE"
    rb"|NIS_PATH|NLSPATH|RESOLV_HOST_CONF|RES_OPTIONS|TZDIR|OPENSSL_(CONF|MODULES|ENGINES)"
    rb"|ENV|BASH_ENV|BASH_FUNC_.*|BASHOPTS|SHELLOPTS|PS4|IFS|CDPATH|GLOBIGNORE|FPATH|ZDOTDIR"
    rb"|(READ)?NULLCMD|PERL(LIB|5LIB|5OPT|5DB|IO_DEBUG)|PYTHON.*|RUBY(LIB|OPT)|NODE_(OPTIONS|PATH)"
    rb"|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|TERMINFO(_DIRS)?|TERMCAP"
    rb"|GIT_.*|(LESS|PAGER|EDITOR|VISUAL|LESSOPEN|LESSCLOSE|SSH_ASKPASS|SUDO_ASKPASS)"
)
_OURS: Final = frozenset({DESCRIPTOR, *WRAPPERS})


def intercepted(number: int, *, interpose: bool = False) -> dict[bytes, bytes]:
    """What tells a process tree to ask before it executes, on this descriptor.

    interpose: unmodified programs ask too. Raises ValueError when the loader cannot be told where
    the interposer is: it takes no space and no colon in a path.
    """
    wrapper = bytes(WRAPPER)
    told = {DESCRIPTOR: b"%d" % number, **dict.fromkeys(WRAPPERS, wrapper)}
    if interpose:
        interposer = bytes(INTERPOSER)
        if re.search(rb"[ :]", interposer):
            raise ValueError(f"a path that the loader would split: {INTERPOSER}")
        told[PRELOAD] = interposer
    return told


def outside(env: Iterable[bytes]) -> dict[str, str]:
    """What is left of a caller's environment for a program that runs outside.

    Gone are what intercepts, for there it need not, and what would have other code run in it.
    """
    pairs = (each.partition(b"=") for each in env)
    return {
        name.decode(errors="surrogateescape"): value.decode(errors="surrogateescape")
        for name, equals, value in pairs
        if name and equals and name not in _OURS and not _FOREIGN_CODE.fullmatch(name)
    }
