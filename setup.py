"""Build the compiled core and the helper program; what can be static is in pyproject.toml.

The helper is linked with musl where there is `musl-gcc`: that starts in a third of the time that a
static glibc takes on a virtual machine, where each of its many CPUID instructions traps.

Two switches are read from the environment:

EXECNODE_DEBUG=1      assertions on, -O1 -g
EXECNODE_SANITIZE=1   AddressSanitizer and UndefinedBehaviorSanitizer (load libasan with LD_PRELOAD)
"""

import copy
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.install_scripts import install_scripts
from setuptools.errors import LinkError
from setuptools.modified import newer_group

PACKAGE = "execnode"
SRC = Path("src")
LINKS = Path("build", "names")

DEBUG = os.environ.get("EXECNODE_DEBUG") == "1"
SANITIZE = os.environ.get("EXECNODE_SANITIZE") == "1"

COMPILE = ["-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden"]
COMPILE += ["-O1", "-g", "-UNDEBUG"] if DEBUG or SANITIZE else ["-O2", "-g0"]
STRIP = [] if DEBUG or SANITIZE else ["-s"]
MUSL = shutil.which("musl-gcc")
SANITIZERS = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"] if SANITIZE else []

# Cython (and mypy) look for execnode/engine/x, never for src/engine/x.
# A link called execnode shows them the layout that the package has once installed.
LINKS.mkdir(parents=True, exist_ok=True)
link = LINKS / PACKAGE
if not link.is_symlink():
    link.symlink_to("../../src", target_is_directory=True)


def sources(folder: str) -> list[str]:
    """List the C files directly in `src/folder`, in a stable order."""
    return [str(path) for path in sorted((SRC / folder).glob("*.c"))]


HEADERS = [str(path) for path in sorted(SRC.rglob("*.h"))]


class Program(Extension):
    """A C program that ships inside the package."""


class Interposer(Program):
    """A C library that ships inside the package, for LD_PRELOAD."""


class Copy(Program):
    """A program, built before, under another name."""

    def __init__(self, name: str, of: Program) -> None:
        super().__init__(name, [])
        self.of = of


class InstallScripts(install_scripts):
    """`install_scripts`, which also puts the helper on PATH under the names that people use."""

    def run(self) -> None:
        super().run()
        build = self.get_finalized_command("build_ext")
        for program in programs()[:1]:
            path = Path(build.get_ext_fullpath(program.name))
            for name in ("execnode-linux-sandbox", "execnode-execve-wrapper"):
                self.write_script(name, path.read_bytes(), "b")


class BuildExt(build_ext):
    """`build_ext`, which also links each `Program`, as an executable or as a plain library."""

    def finalize_options(self) -> None:
        super().finalize_options()
        # Objects of another flavour are newer than the sources, and still wrong.
        flavour = " ".join([*COMPILE, *SANITIZERS, str(MUSL)])
        record = Path("build", "flavour")
        if not record.exists() or record.read_text() != flavour:
            self.force = True
            record.write_text(flavour)

    def get_ext_filename(self, fullname: str) -> str:
        if isinstance(self.ext_map.get(fullname), Program):
            suffix = ".so" if isinstance(self.ext_map[fullname], Interposer) else ""
            return str(Path(*fullname.split("."))) + suffix
        return super().get_ext_filename(fullname)

    def build_extension(self, ext: Extension) -> None:
        if not isinstance(ext, Program):
            super().build_extension(ext)
            return
        target = Path(self.get_ext_fullpath(ext.name))
        if isinstance(ext, Copy):
            self.copy_file(self.get_ext_fullpath(ext.of.name), str(target))
            return
        if not (self.force or newer_group([*ext.sources, *ext.depends], str(target))):
            return
        interposer = isinstance(ext, Interposer)
        compiler = musl(self.compiler, MUSL) if MUSL and not interposer else self.compiler
        objects = compiler.compile(
            ext.sources,
            output_dir=str(Path(self.build_temp, target.stem)),  # others compile some of these too
            include_dirs=ext.include_dirs,
            extra_postargs=ext.extra_compile_args,
            depends=ext.depends,
        )
        if interposer:
            link_program(compiler, objects, target, "-shared", "-Wl,-z,now", "-ldl")
            return
        try:
            link_program(compiler, objects, target, "-static")
        except LinkError:
            # The static libc is a package of its own on some distributions.
            self.warn(f"no static libc: {target.name} is linked dynamically")
            link_program(compiler, objects, target)


def link_program(compiler: Any, objects: list[str], target: Path, *flags: str) -> None:
    compiler.link_executable(
        objects, target.name, output_dir=str(target.parent), extra_postargs=[*flags, *STRIP]
    )


def musl(compiler: Any, program: str) -> Any:
    """Return a compiler that uses musl, and the kernel's headers of the machine's own."""
    triplet = subprocess.run(
        [*compiler.compiler, "-print-multiarch"], capture_output=True, text=True, check=True
    ).stdout.strip()
    made = copy.copy(compiler)
    headers = ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{triplet}"]
    made.set_executables(compiler_so=[program, *headers], linker_exe=[program])
    return made


def programs() -> list[Program]:
    files = sources("engine/_seccomp")
    if not files:
        return []
    helper = Program(
        f"{PACKAGE}.engine._seccomp.execnode-helper",
        files,
        include_dirs=[str(SRC)],
        depends=HEADERS,
        extra_compile_args=COMPILE,
    )
    # A shell gives the wrapper its path as argv[0], by which the helper knows what to be.
    wrapper = Copy(f"{PACKAGE}.engine._seccomp.execnode-execve-wrapper", helper)
    interposer = Interposer(
        f"{PACKAGE}.engine._seccomp.libexecnode-intercept",
        sources("engine/_intercept"),
        include_dirs=[str(SRC)],
        depends=HEADERS,
        extra_compile_args=[*COMPILE, "-fPIC"],
    )
    return [helper, wrapper, interposer]


# What a spawned child does to itself, without a helper, and what may be left of one that had it.
CONFINE = [
    f"src/engine/_seccomp/{name}.c" for name in ("confine", "filter", "landlock", "missing", "plan")
]


def compiled(name: str, *c_files: str) -> Extension:
    return Extension(
        f"{PACKAGE}.engine.{name}",
        [f"src/engine/{name}.pyx", *c_files],
        depends=HEADERS,
        include_dirs=[str(SRC)],
        extra_compile_args=COMPILE + SANITIZERS,
        extra_link_args=SANITIZERS,
    )


core = compiled("_pty", *sources("engine/core"), *CONFINE)
files = compiled("_files", "src/engine/core/crc32c.c")
# The helper's sandbox as a library; what it also is has no use there.
ASKING = ("escalated", "escalation_wire", "supervise", "wrapper", "wrapper_wait")
APPLETS = [f"src/engine/_seccomp/{n}.c" for n in ("guardian", "helper", "probe", *ASKING)]
confine = compiled("_confine", *sorted({*sources("engine/_seccomp")} - {*APPLETS}))
notify = compiled("_notify")

setup(
    packages=[PACKAGE, *(f"{PACKAGE}.{name}" for name in find_packages(str(SRC)))],
    ext_modules=[
        *cythonize(
            [core, files, confine, notify],
            include_path=[str(LINKS)],
            build_dir="build/cython",
            compiler_directives={"language_level": 3},
        ),
        *programs(),
    ],
    cmdclass={"build_ext": BuildExt, "install_scripts": InstallScripts},
)
