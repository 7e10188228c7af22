"""What is read from the memory of whoever asks, which may be laid out to deceive."""

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator

import pytest

from execnode.escalation.question import Memory, Unreadable

PAGE = mmap.PAGESIZE
SIZE = 1 << 17


@pytest.fixture
def end() -> Iterator[int]:
    """The address where memory ends, which is full of pointers to the last of them."""
    file = os.memfd_create("test")
    os.ftruncate(file, SIZE + PAGE)
    with mmap.mmap(file, SIZE + PAGE) as region:
        first = ctypes.c_char.from_buffer(region)
        address = ctypes.addressof(first)
        del first
        region[:SIZE] = (address + SIZE - 8).to_bytes(8, "little") * (SIZE // 8)
        os.ftruncate(file, SIZE)  # so the page behind it cannot be read any more
        yield address + SIZE
    os.close(file)


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory(os.getpid())
    yield memory
    memory.close()


def test_pointers_are_read_across_what_is_read_at_once(end: int, memory: Memory) -> None:
    start = end - PAGE - 4
    assert memory.pointer(start - 4) == end - 8
    assert memory.pointer(end - 8) == end - 8
    with pytest.raises(Unreadable) as error:
        memory.pointer(end)
    assert error.value.errno == errno.EFAULT


@pytest.mark.parametrize("missing", range(1, 8))
@pytest.mark.parametrize("read_before", range(8))
def test_a_pointer_that_is_cut_off_is_a_fault(
    end: int, memory: Memory, missing: int, read_before: int
) -> None:
    memory.pointer(end - read_before - PAGE)  # so that some of it was read with this
    with pytest.raises(Unreadable) as error:
        memory.pointer(end - 8 + missing)
    assert error.value.errno == errno.EFAULT
