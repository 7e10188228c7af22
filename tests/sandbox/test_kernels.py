"""Kernels that give less: what is then refused, by which name, and what is run with what loss.

The other kernels are this one behind other_kernel.c, which answers some system calls in its place.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from execnode.engine._pty import landlock_abi
from tests.sandbox.attempts import ATTEMPTS
from tests.sandbox.judging import check, facts_of
from tests.sandbox.simulator import build_simulator
from tests.sandbox.world import HERE, PYTHON, World

pytestmark = pytest.mark.skipif(landlock_abi() < 7, reason="Landlock ABI 7 is missing")

ALONE = "--refuse namespaces=EPERM"  # as Docker does

# By the words for other_kernel: what is refused of a plan that Landlock can say, without network,
# with some ports, with all of it; and the same of one that needs mounts.
KERNELS = {
    "": ("", "", "", "", "", ""),
    "--landlock 6": ("", "", "", "", "", ""),
    "--landlock 5": ("", "", "", "", "", ""),
    "--landlock 4": ("", "", "", "", "", ""),
    "--landlock 3": ("", "ports", "", "", "ports", ""),
    "--landlock 2": ("", "ports", "", "", "ports", ""),
    "--landlock 1": ("", "ports", "", "", "ports", ""),
    "--landlock 0": ("", "ports", "", "", "ports", ""),
    "--refuse landlock_create_ruleset=ENOSYS": ("", "ports", "", "", "ports", ""),
    ALONE: ("", "", "", *["namespaces"] * 3),
    f"{ALONE} --landlock 6": ("", "", "", *["namespaces"] * 3),
    f"{ALONE} --landlock 5": (*["signals"] * 3, *["namespaces signals"] * 3),
    f"{ALONE} --landlock 4": (*["ioctl signals"] * 3, *["namespaces ioctl signals"] * 3),
    f"{ALONE} --landlock 3": (
        "ioctl signals", "ports ioctl signals", "ioctl signals",
        "namespaces ioctl signals", "namespaces ports ioctl signals", "namespaces ioctl signals",
    ),
    f"{ALONE} --landlock 2": (
        "truncate ioctl signals", "truncate ports ioctl signals", "truncate ioctl signals",
        "namespaces truncate ioctl signals", "namespaces truncate ports ioctl signals",
        "namespaces truncate ioctl signals",
    ),
    f"{ALONE} --landlock 1": (
        "truncate ioctl signals", "truncate ports ioctl signals", "truncate ioctl signals",
        "namespaces truncate ioctl signals", "namespaces truncate ports ioctl signals",
        "namespaces truncate ioctl signals",
    ),
    f"{ALONE} --landlock 0": (
        "landlock", "landlock ports", "landlock",
        "namespaces landlock", "namespaces landlock ports", "namespaces landlock",
    ),
    "--refuse namespaces=ENOSPC": ("", "", "", *["namespaces"] * 3),  # user.max_user_namespaces=0
    "--refuse namespaces=EINVAL": ("", "", "", *["namespaces"] * 3),  # CONFIG_USER_NS=n
    "--refuse clone3=ENOSYS": ("", "", "", "", "", ""),
    "--refuse close_range=ENOSYS": ("", "", "", "", "", ""),
    "--refuse network-namespace=ENOSPC": ("", "", "", "network-namespace", "", ""),
    "--refuse network-namespace=ENOSPC --landlock 0": (
        "network-namespace", "ports", "", "network-namespace", "ports", "",
    ),
    "--refuse mount-proc=EPERM": ("", "", "", *["private-proc"] * 3),
    "--refuse mount-proc=EPERM --landlock 0": (
        "private-proc landlock", "ports", "private-proc landlock",
        "private-proc landlock", "ports", "private-proc landlock",
    ),
    "--refuse mount-tmpfs=EACCES": ("", "", "", *["namespaces"] * 3),  # AppArmor
    "--refuse mount-devpts=EPERM": ("", "", "", *["namespaces"] * 3),
    "--refuse mount_setattr=ENOSYS": ("", "", "", *["namespaces"] * 3),  # Linux 5.11
    "--refuse open_tree=EPERM": ("", "", "", *["namespaces"] * 3),
    "--refuse openat2=ENOSYS": ("", "", "", *["namespaces"] * 3),
    "--refuse move_mount=ENOSYS": ("", "", "", *["namespaces"] * 3),
    "--refuse move_mount=EPERM --landlock 5": (*["signals"] * 3, *["namespaces signals"] * 3),
}  # fmt: skip
NETWORKS = {
    "none": [], "ports": ["--connect-port", "9", "--bind-port", "9"], "full": ["--network", "full"],
}  # fmt: skip
FLAT = {"read-only": ["--profile", "read-only"], "minimal": ["--minimal"]}
MOUNTED = {"workspace-write": ["--profile", "workspace-write"], "written": ["--minimal", "--write"]}

REFUSAL = re.compile(r"protection \d+ this kernel gives no (\S+): (.+)")


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where nobody can run it too."""
    return build_simulator(tmp_path_factory.mktemp("kernels"))


class OtherKernel:
    """The helper on a kernel that gives less."""

    def __init__(self, world: World, simulator: Path, words: str) -> None:
        self.world = world
        self.program = world.base / "other_kernel"
        shutil.copy(simulator, self.program)
        self.helper = world.base / "execnode-linux-sandbox"
        if not self.helper.exists():
            self.helper.symlink_to(world.helper)
        self.words = words.split()

    def run(
        self, options: Sequence[object], *command: object
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        """A command in the sandbox, and what the helper said of failures and losses."""
        read, write = os.pipe()
        line = [
            self.program, *self.words, "--", self.helper, *options, "--status-fd", write,
            "--", *command,
        ]  # fmt: skip
        done = subprocess.run(
            [str(word) for word in line], cwd=self.world.workspace, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=30, pass_fds=[write], **self.world.user,
        )  # fmt: skip
        os.close(write)
        with os.fdopen(read) as status:
            lines = status.read().splitlines()
        return done, [line for line in lines if not line.startswith("way ")]


def full_name(name: str) -> str:
    return f"landlock-{name}" if name in ("ports", "truncate", "ioctl", "signals") else name


def names(text: str) -> list[str]:
    return sorted(full_name(name) for name in text.split())


def refused_in(lines: list[str]) -> list[str]:
    found = [REFUSAL.fullmatch(line) for line in lines]
    assert all(found), lines
    for match in found:
        assert match
        assert match[2].endswith(f"or accept the loss (--accept-missing {match[1]})")
        assert len(match[2]) > 60  # says what would allow it
    return sorted(match[1] for match in found if match)


def lost_in(lines: list[str]) -> list[str]:
    assert all(line.startswith("lost 0 ") for line in lines), lines
    return sorted(line.removeprefix("lost 0 ") for line in lines)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("profile", ["read-only", "minimal", "workspace-write", "written"])
def test_what_is_missing_is_refused_by_name_and_may_be_accepted(
    world: World, simulator: Path, kernel: str, profile: str
) -> None:
    other = OtherKernel(world, simulator, kernel)
    options = [*{**FLAT, **MOUNTED}[profile]]
    if profile == "written":
        options.append(str(world.workspace))
    for column, (network, words) in enumerate(NETWORKS.items()):
        wanted = names(KERNELS[kernel][column + (3 if profile in MOUNTED else 0)])
        accepted: list[str] = []
        done, lines = other.run([*options, *words], "echo", "ran")
        assert refused_in(lines) == wanted, f"{network}: {lines}"
        while lines and len(accepted) < 20:  # what is behind it may be missing too
            assert (done.returncode, done.stdout, done.stderr) == (125, "", "")
            new = refused_in([line for line in lines if not line.startswith("lost ")])
            assert new, lines
            assert not {*new} & {*accepted}
            accepted += [word for name in new for word in ("--accept-missing", name)]
            done, lines = other.run([*options, *words, *accepted], "echo", "ran")
            if all(line.startswith("lost ") for line in lines):
                break
        assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
        assert lost_in(lines) == sorted(accepted[1::2])
        assert list(world.workspace.iterdir()) == []


@pytest.mark.parametrize("landlock", [words for words in KERNELS if words.startswith(ALONE)])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_fast_path_lacks_the_same(simulator: Path, landlock: str, network: str) -> None:
    script = (
        "import sys; from execnode.engine._pty import Sandbox;"
        "print(*Sandbox([(b'/', 'read')], network=sys.argv[1], connect=[9], bind=[9]).lacks)"
    )
    words = landlock.removeprefix(ALONE).split()
    done = subprocess.run(
        [simulator, *words, "--", sys.executable, "-c", script, network],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert sorted(done.stdout.split()) == names(KERNELS[landlock][[*NETWORKS].index(network)])


# ---- what holds all the same -------------------------------------------------------------------


def attempt(
    other: OtherKernel, options: Sequence[object], name: str
) -> subprocess.CompletedProcess[str]:
    facts = facts_of(other.world, "namespaces")
    done, _ = other.run(options, PYTHON, "-I", HERE / "attempts.py", name, facts)
    return done


@pytest.mark.parametrize("name", ATTEMPTS)
def test_without_landlock_namespaces_hold_against(name: str, fresh: World, simulator: Path) -> None:
    """It is the second wall, and no loss."""
    ws = fresh.workspace
    other = OtherKernel(fresh, simulator, "--landlock 0")
    options = [
        "--profile", "workspace-write", "--read-only", ws / "deep/down/kept",
        "--deny", ws / "secret", "--deny", ws / "hidden",
    ]  # fmt: skip
    done = attempt(other, options, name)
    check(fresh, done.stdout, done.stderr, done.returncode)


# The words for other_kernel, the accepted losses, and some that reach for what they are about.
ACCEPTED = {
    "--refuse mount-proc=EPERM": (
        ["private-proc"],
        "write_memory_outside read_the_environment_outside enter_the_root_outside "
        "enter_the_folder_outside open_descriptors_outside read_the_maps_outside "
        "tune_outside_by_proc signal_outside trace_outside limit_outside write_core_pattern "
        "write_any_sysctl write_any_file_of_proc write_sysrq write_outside write_by_proc_root "
        "write_the_protected_folder read_the_hidden_file make_a_missing_name_as_folder",
    ),
    "--refuse network-namespace=ENOSPC": (
        ["network-namespace"],
        "make_an_internet_socket make_an_internet_6_socket make_a_netlink_socket "
        "make_a_packet_socket connect_to_a_socket_outside connect_to_an_abstract_socket "
        "take_an_abstract_name send_to_a_socket_outside write_outside signal_outside "
        "send_from_a_pair_to_a_socket_outside make_a_missing_name_as_folder",
    ),
    ALONE: (
        ["namespaces"],
        "write_outside change_outside truncate_outside remove_outside rename_out rename_in "
        "exchange_with_outside hard_link_from_outside hard_link_to_outside write_through_a_link "
        "write_by_proc_root write_core_pattern write_any_sysctl write_any_file_of_sys_kernel "
        "make_a_cgroup leave_the_cgroup open_any_other_device make_a_block_device unshare_user "
        "mount_tmpfs signal_outside signal_everybody signal_outside_by_owner trace_outside "
        "read_memory_outside read_the_environment_outside enter_the_root_outside "
        "limit_outside renice_outside set_the_processors_outside add_a_key use_io_uring use_bpf "
        "make_an_internet_socket connect_to_an_abstract_socket take_an_abstract_name "
        "use_shared_memory_outside open_a_queue_outside gain_privileges use_the_x32_abi",
    ),
    f"{ALONE} --landlock 0": (
        ["namespaces", "landlock"],
        "unshare_user mount_tmpfs trace_outside read_memory_outside limit_outside renice_outside "
        "set_the_processors_outside add_a_key use_io_uring use_bpf make_an_internet_socket "
        "make_a_block_device make_a_set_user_id_file connect_to_a_socket_outside "
        "connect_to_an_abstract_socket take_an_abstract_name use_shared_memory_outside "
        "open_a_queue_outside gain_privileges use_the_32_bit_abi use_the_x32_abi "
        "push_into_the_terminal read_inherited_descriptors",
    ),
}


@pytest.mark.parametrize(
    ("kernel", "name"),
    [(kernel, name) for kernel, (_, listed) in ACCEPTED.items() for name in listed.split()],
)
def test_after_a_loss_this_still_holds_against(
    kernel: str, name: str, fresh: World, simulator: Path
) -> None:
    other = OtherKernel(fresh, simulator, kernel)
    options: list[object] = ["--profile", "workspace-write", "--deny", fresh.workspace / "secret"]
    for loss in ACCEPTED[kernel][0]:
        options += ["--accept-missing", loss]
    done = attempt(other, options, name)
    check(fresh, done.stdout, done.stderr, done.returncode)


def test_with_ports_no_socket_of_another_program_is_reached(fresh: World, simulator: Path) -> None:
    """That needs connect(2), which would take names too: of files, and with an old Landlock any."""
    for kernel in ("", "--landlock 4", "--refuse landlock_create_ruleset=ENOSYS"):
        other = OtherKernel(fresh, simulator, kernel)
        options = ["--profile", "read-only", "--connect-port", "9"]
        options += ["--accept-missing", "landlock-ports"]
        for name in (
            "connect_to_a_socket_outside",
            "connect_to_an_abstract_socket",
            "send_to_a_socket_outside",
            "send_from_a_pair_to_a_socket_outside",
        ):
            assert attempt(other, options, name).stdout.startswith("refused"), (kernel, name)


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_a_folder_is_no_stream(world: World, stream: str) -> None:
    """From it the program would get at what is hidden around it."""
    folder = os.open(world.outside, os.O_RDONLY | os.O_DIRECTORY)
    done = world.run(["--profile", "read-only"], "true", **{stream: folder})
    assert done.returncode == 125
    assert stream == "stderr" or "Is a directory" in done.stderr
    os.close(folder)


def test_without_seccomp_nothing_runs(world: World, simulator: Path) -> None:
    for words in ("", ALONE):
        other = OtherKernel(world, simulator, f"{words} --refuse seccomp=ENOSYS")
        done, lines = other.run(["--profile", "read-only"], "echo", "ran")
        assert (done.returncode, done.stdout) == (125, "")
        assert lines == ["protection 38 this kernel gives no seccomp: allow its filters "
                         "(CONFIG_SECCOMP_FILTER)"]  # fmt: skip
