"""Every profile, for real: what can be done inside is what its plan says, and the table expects."""

import os
import socket
from collections.abc import Iterator

import pytest

from execnode.engine._pty import landlock_abi
from execnode.policy.plan import Plan
from execnode.policy.profile import plan_for
from execnode.policy.request import context_of, request_of
from tests.policy.worlds import World as Places
from tests.sandbox.conftest import uid_of
from tests.sandbox.probing import PROBE, Answer, asked, check_plan, every_path, in_namespaces, told
from tests.sandbox.profiles import PROFILES, TREE, Case
from tests.sandbox.world import PYTHON, World

# What has to work in every sandbox, and what in none, whatever the profile says.
NEEDED = [
    *("use_devices", "run_programs", "use_threads", "signal_a_child", "see_own_processes"),
    *("map_memory", "use_a_socket_pair"),
]
# Landlock cannot tell own terminals and shared memory from others', so only namespaces give these.
NEEDED_OF_NAMESPACES = ["open_a_terminal", "share_memory"]
FORBIDDEN = [
    *("mount_tmpfs", "remount_writable", "clone_a_mount", "unshare_user", "clone3_user"),
    *("enter_a_namespace", "change_the_root", "add_a_key", "use_io_uring", "use_bpf"),
    *("use_perf", "use_userfaultfd", "trace_outside", "trace_a_child", "signal_outside"),
    *("signal_outside_by_pidfd", "read_memory_outside", "enter_the_root_outside"),
    *("read_the_environment_outside", "write_core_pattern", "make_a_cgroup", "open_memory"),
    *("make_a_block_device", "open_the_disk", "use_shared_memory_outside"),
    *("open_a_queue_outside", "use_the_32_bit_abi", "gain_privileges"),
]
# What works where the network is not restricted, and only there.
NETWORK = [
    *("listen_here", "connect_outside", "make_a_socket_of_version_6"),
    *("connect_to_a_socket_outside", "connect_to_an_abstract_socket", "make_a_netlink_socket"),
]
FILES = ("places", "names")
FLAT = [case for case in PROFILES if case.name.removesuffix(", online").endswith("read-only")]


@pytest.fixture(scope="module", params=["root", "nobody"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A tree in which each case finds everything in its place, since it has put it back."""
    with World(uid_of(request.param)) as world:
        places = Places(world.base)
        places.make(*TREE)
        (world.workspace / "tool").chmod(0o755)
        for folder, folders, files in os.walk(world.base):
            for name in (*folders, *files):
                os.chown(f"{folder}/{name}", world.uid, world.uid, follow_symlinks=False)
        os.chown(world.base, world.uid, world.uid)
        world.facts = world.populate()
        server = world.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        world.facts["port"] = server.getsockname()[1]
        yield world


def plan_of(case: Case, world: World) -> Plan:
    places = Places(world.base)
    sandbox = places.context(case.permissions(places), case.roots.split(), cwd=places.uri("ws"))
    tmpdir = places.path(case.tmpdir) if case.tmpdir else None
    cwd = bytes(world.workspace)
    return plan_for(request_of(sandbox, context_of(sandbox, cwd, tmpdir)), cwd)


def ask(world: World, way: str, case: Case, needed: list[str], attempts: list[str]) -> str:
    """What the probe is to try: what the table names, all that is there, and deeds."""
    expected = {str(world.base / path) for path in case.places()}
    names = {path for path in expected if not os.path.lexists(path)}
    places = {*every_path(world.base), *expected} - names
    return asked(world.base, places, names, needed, attempts, {**world.facts, "path": way})


def on_the_fast_path(world: World, plan: Plan, request: str) -> Answer:
    rules = [(os.fsdecode(rule.path), "read") for rule in plan.rules]
    network = "full" if plan.network.full else "none"
    # The engine gives no stdin to read from.
    folder = world.make("asked.json", request)
    text = f"import sys; sys.stdin = open({str(folder)!r})\n{PROBE}"
    done = world.run_fast([*rules, (network, "network")], PYTHON, "-I", "-S", "-c", text)
    folder.unlink()
    return told(done)


def check_files(world: World, plan: Plan, case: Case, answer: Answer) -> None:
    """What was found is what the table expects, and the plan says of every other path."""
    base = f"{world.base}/"
    found = {path.removeprefix(base): how for part in FILES for path, how in answer[part].items()}
    expected = case.places()
    assert {path: found[path] for path in expected} == expected
    check_plan(plan, answer)


def check_deeds(case: Case, found: dict[str, str], needed: list[str]) -> None:
    """Attempts come to nothing, and the rest works."""
    works = {*needed, *(NETWORK if case.online else ())}
    wrong = {name: how for name, how in found.items() if (how == "ok") is not (name in works)}
    assert wrong == {}


@pytest.mark.parametrize("case", PROFILES, ids=lambda case: case.name)
def test_a_profile_in_namespaces(case: Case, world: World) -> None:
    plan = plan_of(case, world)
    assert plan.unrestricted is case.unrestricted
    needed = [*NEEDED, *NEEDED_OF_NAMESPACES]
    attempts = [] if plan.unrestricted else [*FORBIDDEN, *NETWORK]
    answer = in_namespaces(world, plan, ask(world, "namespaces", case, needed, attempts))
    check_files(world, plan, case, answer)
    if attempts:
        check_deeds(case, answer["deeds"], needed)


@pytest.mark.skipif(landlock_abi() < 6, reason="Landlock ABI 6 is missing")
@pytest.mark.parametrize("case", FLAT, ids=lambda case: case.name)
def test_a_profile_on_the_fast_path(case: Case, world: World) -> None:
    plan = plan_of(case, world)
    assert plan.flat
    request = ask(world, "fast", case, NEEDED, [*FORBIDDEN, *NETWORK])
    answer = on_the_fast_path(world, plan, request)
    check_files(world, plan, case, answer)
    check_deeds(case, answer["deeds"], NEEDED)
