"""An interpreter of classic BPF as seccomp uses it, and the numbers of system calls."""

import re
from dataclasses import dataclass
from pathlib import Path

Instruction = tuple[int, int, int, int]

KILL, ALLOW = 0x80000000, 0x7FFF0000
ERRNO = 0x00050000

HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", r"#define __NR_(\w+)\s+(\d+)"),
    "arm64": ("/usr/include/asm-generic/unistd.h", r"#define __NR(?:3264)?_(\w+)\s+(\d+)"),
}


def numbers(arch: str) -> dict[str, int]:
    """System calls of an architecture by name, as the kernel's headers have them; empty without."""
    file, pattern = HEADERS[arch]
    if not Path(file).exists():
        return {}
    return {name: int(nr) for name, nr in re.findall(pattern, Path(file).read_text())}


@dataclass(frozen=True)
class Call:
    """What a filter sees: struct seccomp_data."""

    arch: int
    number: int
    args: tuple[int, ...] = ()

    def word(self, offset: int) -> int:
        """The 32 bits at an offset, little-endian."""
        if offset == 0:
            return self.number & 0xFFFFFFFF
        if offset == 4:
            return self.arch
        assert 16 <= offset < 64, offset
        assert offset % 4 == 0
        index, high = divmod(offset - 16, 8)
        value = self.args[index] if index < len(self.args) else 0
        return value >> (32 if high else 0) & 0xFFFFFFFF


def check(program: list[Instruction]) -> None:
    """What the kernel checks: every path ends with a return, and no jump leaves the program."""
    assert 0 < len(program) <= 4096
    assert program[-1][0] == 0x06
    for at, (code, jt, jf, k) in enumerate(program):
        if code == 0x05:
            assert at + 1 + k < len(program)
        elif code & 0x07 == 0x05:
            assert at + 1 + max(jt, jf) < len(program)


def run(program: list[Instruction], call: Call) -> tuple[int, int]:
    """The verdict, and how many instructions it took."""
    accumulator, at, steps = 0, 0, 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        steps += 1
        match code:
            case 0x20:  # LD W ABS
                accumulator = call.word(k)
            case 0x54:  # ALU AND K
                accumulator &= k
            case 0x05:  # JMP JA
                at += k
            case 0x15:  # JMP JEQ K
                at += jt if accumulator == k else jf
            case 0x25:  # JMP JGT K
                at += jt if accumulator > k else jf
            case 0x35:  # JMP JGE K
                at += jt if accumulator >= k else jf
            case 0x45:  # JMP JSET K
                at += jt if accumulator & k else jf
            case 0x06:  # RET K
                return k, steps
            case _:
                raise AssertionError(f"an instruction that no filter needs: {code:#x}")
