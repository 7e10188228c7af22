"""Opening files for handles."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from execnode.environment.local.files.descriptor import Descriptor, Opened
from execnode.environment.local.files.paths import (
    OPEN_FLAGS,
    not_a_file,
    open_regular,
    os_error,
    place,
)

__all__ = ["open_to_change", "open_to_look"]


def open_to_change(path: bytes, empty: bool) -> Opened:
    """Open a regular file for reading and writing, or only for writing; make it if it is missing.

    empty: what it held is gone.
    """
    with place(path) as (folder, name):
        flags = os.O_CREAT | OPEN_FLAGS
        with suppress(FileNotFoundError):
            if stat.S_ISFIFO(os.stat(name, dir_fd=folder).st_mode):
                raise os_error(errno.ENXIO)  # opened both ways, it would wake its reader
        try:
            number = os.open(name, os.O_RDWR | flags, 0o666, dir_fd=folder)
        except PermissionError:  # it may be one that may only be written to
            number = os.open(name, os.O_WRONLY | flags, 0o666, dir_fd=folder)
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise not_a_file(path)
        if empty:
            os.ftruncate(number, 0)
    except BaseException:
        os.close(number)
        raise
    return Opened(Descriptor(number), 0 if empty else status.st_size)


def open_to_look(path: bytes) -> Opened:
    """Open a regular file for reading."""
    number, status = open_regular(path)
    return Opened(Descriptor(number), status.st_size)
