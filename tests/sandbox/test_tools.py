"""What people need works in a workspace: git, compilers, make, Python's processes, pip."""

import shutil
import zipfile

import pytest

from tests.sandbox.world import PYTHON, World

OPTIONS = ["--profile", "workspace-write"]


def needs(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program, path="/usr/local/bin:/usr/bin:/bin"):
            pytest.skip(f"there is no {program}")


def works(world: World, script: str) -> str:
    done = world.shell(OPTIONS, f"set -e; export HOME=/tmp; {script}")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def test_git_reads_a_repository_and_makes_one_below(world: World) -> None:
    needs("git")
    world.run(["--profile", "full-access"], "git", "init", "-q", ".")
    world.make("ws/file")
    assert works(world, "git status --short") == "?? file\n"
    works(
        world,
        """git init -q below; cd below; echo x >y; git add y
        git -c user.name=n -c user.email=e commit -qm s; git mv y z; git log --oneline""",
    )
    assert world.shell(OPTIONS, "git config a.b c").returncode != 0


def test_git_commits_where_its_folder_is_granted(world: World) -> None:
    needs("git")
    world.run(["--profile", "full-access"], "git", "init", "-q", ".")
    world.make("ws/file", "text")
    commit = "git add file && git -c user.name=n -c user.email=e commit -qm said"
    assert world.shell(OPTIONS, commit).returncode != 0
    granted = [*OPTIONS, "--write", world.workspace / ".git"]
    done = world.shell(granted, f"export HOME=/tmp; {commit} && git log --format=%s && git gc -q")
    assert (done.returncode, done.stdout) == (0, "said\n"), done.stderr


def test_git_finds_the_repository_around_a_workspace(world: World) -> None:
    needs("git")
    world.run(["--profile", "full-access"], "git", "init", "-q", ".")
    world.make("ws/package/file")
    done = world.run(
        [*OPTIONS, "--cwd", world.workspace / "package"], "git", "status", "--short",
    )  # fmt: skip
    assert done.stdout == "?? ./\n", done.stderr


def test_make_and_a_compiler(world: World) -> None:
    needs("make", "cc")
    world.make("ws/x.c", '#include <stdio.h>\nint main(void) { puts("made"); }\n')
    assert works(world, "make -s x && ./x && chmod 700 x && touch x.c && make -s x").split() == [
        "made"
    ]


def test_python_processes_semaphores_and_shared_memory(world: World) -> None:
    world.make(
        "ws/x.py",
        """
import multiprocessing as m
from multiprocessing import shared_memory
def f(x): return x * x
if __name__ == "__main__":
    for way in ("fork", "spawn"):
        with m.get_context(way).Pool(2) as pool:
            print(sum(pool.map(f, range(10))))
    with m.Lock(): pass
    s = shared_memory.SharedMemory(create=True, size=9)
    s.close(); s.unlink()
""",
    )
    assert works(world, f"{PYTHON} x.py") == "285\n285\n"


def test_threads_and_asyncio(world: World) -> None:
    script = (
        "import asyncio, threading\n"
        "ts = [threading.Thread(target=lambda: None) for _ in range(50)]\n"
        "[t.start() for t in ts]; [t.join() for t in ts]\n"
        "async def f():\n"
        "    p = await asyncio.create_subprocess_exec('echo', 'x', stdout=-1)\n"
        "    print((await p.communicate())[0].decode().strip())\n"
        "asyncio.run(f())\n"
    )
    world.make("ws/x.py", script)
    assert works(world, f"{PYTHON} x.py") == "x\n"


def test_a_virtual_environment_with_a_package(world: World) -> None:
    world.make(
        "ws/package/pyproject.toml",
        """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
""",
    )
    world.make(
        "ws/package/backend.py",
        """
import zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("thing.py", "said = 'hello'")
        info = "thing-1.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: thing\\nVersion: 1\\n")
        wheel.writestr(f"{info}/WHEEL",
            "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
""",
    )
    if world.run(["--profile", "full-access"], PYTHON, "-c", "import ensurepip").returncode:
        pytest.skip("there is no ensurepip")
    out = works(
        world,
        f"""{PYTHON} -m venv v
        v/bin/python -m pip -q --disable-pip-version-check install --no-index ./package
        v/bin/python -c 'import thing; print(thing.said)'""",
    )
    assert out == "hello\n"


def test_node(world: World) -> None:
    needs("node")
    world.make(
        "ws/x.js",
        """
const {execSync} = require('child_process');
require('fs').writeFileSync('made', 'x');
console.log(execSync('echo said').toString().trim());
""",
    )
    assert works(world, "node x.js; cat made") == "said\nx"


def test_devices_and_own_processes(world: World) -> None:
    out = works(
        world,
        """echo gone >/dev/null; head -c4 /dev/zero | od -An -tx1; head -c9 /dev/urandom | wc -c
        ! echo full 2>/dev/null >/dev/full
        sleep 60 & test -d /proc/$! && kill $!; wait $! || echo $?
        cat /proc/self/comm; ps -o comm= 2>/dev/null | grep -c sh""",
    )
    assert out.split() == ["00", "00", "00", "00", "9", "143", "cat", "1"]


def test_a_wheel_from_a_file(world: World) -> None:
    if world.run(["--profile", "full-access"], PYTHON, "-c", "import ensurepip").returncode:
        pytest.skip("there is no ensurepip")
    name = "thing-1-py3-none-any.whl"
    info = "thing-1.dist-info"
    with zipfile.ZipFile(world.make(f"ws/{name}"), "w") as wheel:
        wheel.writestr("thing.py", "said = 'hello'")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
        tag = "Root-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\n{tag}")
        wheel.writestr(f"{info}/RECORD", "")
    out = works(
        world,
        f"""{PYTHON} -m venv v
        v/bin/python -m pip -q --disable-pip-version-check install --no-index ./{name}
        v/bin/python -c 'import thing; print(thing.said)'""",
    )
    assert out == "hello\n"


def test_shell_plumbing(world: World) -> None:
    out = works(
        world,
        """cat <<X | tr a-z A-Z
text
X
(echo err >/dev/stderr; echo out >/dev/stdout) 2>&1 | cat; bash -c 'cat <(echo sub)'""",
    )
    assert out == "TEXT\nerr\nout\nsub\n"
