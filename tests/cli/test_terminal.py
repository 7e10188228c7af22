"""`execnode run --tty` and `attach`, by somebody at a real terminal."""

import signal
from pathlib import Path

import pytest

from execnode.cli.console import Escape
from tests.cli.programs import Person, Relay, RunningNode, alive, eventually

LEAVE = "\x1d\x1d\x1d"
SHELL = ["--tty", "--env", "PS1=remote> ", "--", "bash", "--norc", "--noediting"]


@pytest.fixture(params=["here", "on a node"])
def where(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "here":
        return []
    node: RunningNode = request.getfixturevalue("node")
    return ["--node", node.url]


# ---- run --tty -----------------------------------------------------------------------------------


def test_a_shell_has_a_terminal_like_ours(person: type[Person], where: list[str]) -> None:
    someone = person("run", *where, *SHELL, size=(33, 99), env={"TERM": "vt220"})
    someone.sees("remote> ")
    someone.type("stty size; echo $TERM; tty >&2; exit 7\r")
    someone.sees("33 99\r\n")
    someone.sees("vt220\r\n")
    someone.sees("/dev/pts/")
    assert someone.ends() == 7
    assert someone.modes() == someone.modes_before


def test_the_window_size_follows_ours(person: type[Person], where: list[str]) -> None:
    command = "trap 'stty size' WINCH; trap 'exit 3' INT; echo ready; while :; do sleep 0.01; done"
    someone = person("run", "--tty", *where, "--", "bash", "-c", command, size=(24, 80))
    someone.sees("ready\r\n")
    someone.resize(50, 150)
    someone.sees("50 150\r\n")
    someone.type("\x03")
    assert someone.ends() == 3


def test_ctrl_c_is_a_key_for_the_command(person: type[Person], where: list[str]) -> None:
    someone = person("run", *where, *SHELL)
    someone.sees("remote> ")
    someone.type("sh -c 'echo asleep; exec sleep 100'\r")
    someone.sees("asleep\r\n")
    someone.type("\x03")
    someone.sees("remote> ")
    someone.type("echo code $?\r")
    someone.sees("code 130\r\n")
    someone.type("\x04")  # and so is Ctrl-D
    assert someone.ends() == 0


def test_keys_are_passed_one_by_one_and_unchanged(person: type[Person], node: RunningNode) -> None:
    read = "stty raw -echo; echo ready; dd bs=1 count=7 2>/dev/null | od -An -tx1"
    someone = person("run", "--tty", "--node", node.url, "--", "sh", "-c", read)
    someone.sees("ready")
    for key in "\r\n\x03\x1a\x11\x7f":
        someone.type(key)
    someone.type("\x1d")
    someone.sees("0d 0a 03 1a 11 7f 1d")
    assert someone.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_us_goes_to_the_command_and_the_terminal_is_restored(
    person: type[Person], where: list[str], number: signal.Signals
) -> None:
    command = (
        f"trap 'echo got it; exit 5' {number.name[3:]}; echo ready; while :; do sleep 0.01; done"
    )
    someone = person("run", "--tty", *where, "--", "bash", "-c", command)
    someone.sees("ready\r\n")
    assert eventually(lambda: someone.modes() != someone.modes_before)
    someone.signal(number)
    someone.sees("got it\r\n")
    assert someone.ends() == 5
    assert someone.modes() == someone.modes_before


def test_the_keys_that_leave_end_the_command(person: type[Person], where: list[str]) -> None:
    command = "trap '' INT TERM HUP; echo $$; while :; do sleep 0.01; done"
    someone = person("run", "--tty", *where, "--", "bash", "-c", command)
    pid = int(someone.sees("\r\n"))
    someone.type(LEAVE)
    assert someone.ends() == 137
    assert eventually(lambda: not alive(pid))
    assert someone.modes() == someone.modes_before


def test_the_keys_that_leave_work_while_the_node_does_not_answer(
    person: type[Person], socket_dir: Path
) -> None:
    with RunningNode("--listen", f"unix://{socket_dir}/node.sock") as node:
        someone = person("run", *SHELL, env=node.env)
        someone.sees("remote> ")
        node.signal(signal.SIGSTOP)
        someone.type("nobody reads this")
        someone.type(LEAVE)
        assert eventually(lambda: someone.modes() == someone.modes_before)
        assert someone.popen.poll() is None  # the node is asked to end the shell
        node.signal(signal.SIGCONT)
        assert someone.ends() == 137


def test_what_cannot_start_leaves_the_terminal_alone(
    person: type[Person], where: list[str]
) -> None:
    someone = person("run", "--tty", *where, "no-such-program")
    someone.sees(" no-such-program: execve: No such file or directory")
    assert someone.ends() == 127
    assert someone.modes() == someone.modes_before


def test_without_a_terminal_input_is_typed_into_the_commands(node: RunningNode) -> None:
    done = node.run("run", "--tty", "--", "cat", input=b"one\ntwo")
    assert done.returncode == 0
    assert done.stdout.replace(b"\r", b"").replace(b"^D\b\b", b"") == b"one\ntwoone\ntwo"
    assert done.stderr == b""


def test_without_a_terminal_no_input_is_needed(node: RunningNode) -> None:
    done = node.run("run", "--tty", "--no-stdin", "--", "sh", "-c", "stty size; test -t 0")
    assert (done.returncode, done.stdout) == (0, b"24 80\r\n")


def test_without_tty_a_terminals_lines_are_read_only_if_asked(
    person: type[Person], node: RunningNode
) -> None:
    someone = person("run", "--node", node.url, "--", "cat")
    assert someone.ends() == 0
    someone = person("run", "--node", node.url, "--stdin", "--", "cat")
    someone.type("hello\n")
    someone.sees("hello\r\n")
    someone.sees("hello\r\n")
    someone.type("\x04")
    assert someone.ends() == 0


def test_ctrl_c_at_a_terminal_without_tty_is_a_signal(
    person: type[Person], where: list[str]
) -> None:
    command = "trap 'echo INT; exit 5' INT; echo ready; while :; do sleep 0.01; done"
    someone = person("run", *where, "--", "bash", "-c", command)
    someone.sees("ready\r\n")
    someone.type("\x03")
    someone.sees("INT\r\n")
    assert someone.ends() == 5


def test_somebody_who_waits_for_output_that_is_held_open_is_told(
    person: type[Person], node: RunningNode
) -> None:
    someone = person("run", "--node", node.url, "--", "sh", "-c", "sleep 100 & exit 4")
    someone.sees("it has ended; something that it started still holds its output")
    someone.type("\x03")
    assert someone.ends() == 4


def test_a_lost_connection_is_told_and_made_again(
    person: type[Person], node: RunningNode, socket_dir: Path
) -> None:
    relay = Relay(socket_dir, node.url)
    relay.open()
    someone = person("run", *SHELL, env={"EXECNODE_NODE": relay.url})
    someone.sees("remote> ")
    relay.cut()
    someone.sees("execnode: connection lost; connecting again\r\n")
    someone.type("echo typed-meanwhile-$((20+3))\r")
    relay.open()
    someone.sees("typed-meanwhile-23\r\n")
    someone.sees("execnode: connection is back\r\n")
    someone.type("exit 7\r")
    assert someone.ends() == 7


# ---- attach --------------------------------------------------------------------------------------


def test_attaching_shows_what_was_there_and_passes_keys_and_size(
    person: type[Person], node: RunningNode
) -> None:
    ref = node.detached(*SHELL)
    first = person("attach", ref[:6], env=node.env)
    first.sees("remote> ")
    first.type("echo first-$((20+3))\r")
    first.sees("first-23\r\nremote> ")
    first.type(LEAVE)
    first.sees(f"execnode: {ref} runs on; to come back: execnode attach {ref}")
    assert first.ends() == 0
    assert first.modes() == first.modes_before

    second = person("attach", ref, size=(40, 120), env=node.env)
    second.sees("first-23\r\nremote> ")
    second.type("stty size\r")
    second.sees("40 120\r\n")
    second.type("sh -c 'echo asleep; exec sleep 100'\r")
    second.sees("asleep\r\n")
    second.type("\x03")
    second.sees("remote> ")
    second.type("exit 9\r")
    assert second.ends() == 9
    assert second.modes() == second.modes_before


def test_attaching_to_the_tail_shows_only_what_comes(
    person: type[Person], node: RunningNode
) -> None:
    ref = node.detached("--tty", "--", "sh", "-c", "echo before; read x; echo after $x")
    assert eventually(lambda: node.process(ref).bytes["pty"])
    someone = person("attach", "--tail", ref, env=node.env)
    assert eventually(lambda: someone.modes() != someone.modes_before)
    someone.type("this\r")
    assert "before" not in someone.sees("after this\r\n")
    assert someone.ends() == 0


def test_two_people_at_one_terminal_both_see_it(person: type[Person], node: RunningNode) -> None:
    ref = node.detached(*SHELL)
    people = [person("attach", ref, env=node.env) for _ in range(2)]
    for number, someone in enumerate(people):
        someone.sees("remote> ")
        someone.type(f"echo from-$((40+{number}))\r")
        for each in people:
            each.sees(f"from-{40 + number}\r\n")
    people[0].type("exit\r")
    assert [each.ends() for each in people] == [0, 0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ending_an_attach_leaves_the_process_alone(
    person: type[Person], node: RunningNode, number: signal.Signals
) -> None:
    ref = node.detached(*SHELL)
    someone = person("attach", ref, env=node.env)
    someone.sees("remote> ")
    assert eventually(lambda: someone.modes() != someone.modes_before)
    someone.signal(number)
    assert someone.ends() == 0
    assert someone.modes() == someone.modes_before
    assert node.process(ref).returncode is None


def test_without_its_own_terminal_a_process_gets_only_ctrl_c(
    person: type[Person], node: RunningNode
) -> None:
    command = "trap 'echo INT; exit 5' INT; echo ready; while :; do sleep 0.01; done"
    ref = node.detached("--", "sh", "-c", command)
    someone = person("attach", ref, env=node.env)
    someone.sees("ready\r\n")
    assert eventually(lambda: someone.modes() != someone.modes_before)
    someone.type(LEAVE)
    someone.sees("runs on")
    assert someone.ends() == 0
    assert someone.modes() == someone.modes_before

    someone = person("attach", "--tail", ref, env=node.env)
    assert eventually(lambda: someone.modes() != someone.modes_before)
    someone.type("\x03")
    someone.sees("INT\r\n")
    assert someone.ends() == 5


def test_input_can_be_piped_into_a_terminal(node: RunningNode) -> None:
    ref = node.detached("--tty", "--", "sh", "-c", "stty -echo; read x; echo got $x")
    done = node.run("attach", ref, input=b"a line\n")
    assert (done.returncode, done.stdout) == (0, b"got a line\r\n")


# ---- the keys that leave -------------------------------------------------------------------------


def test_three_times_within_a_second() -> None:
    escape = Escape()
    assert not escape.found_in(b"\x1d", 0.0)
    assert not escape.found_in(b"\x1d", 0.5)
    assert escape.found_in(b"\x1d", 0.9)


def test_three_times_at_once_even_between_other_keys() -> None:
    assert Escape().found_in(b"ls\x1d\x1d\x1dls", 0.0)


def test_three_times_too_slowly_or_interrupted() -> None:
    escape = Escape()
    for moment in (0.0, 0.6, 1.2, 1.8):
        assert not escape.found_in(b"\x1d", moment)
    assert not Escape().found_in(b"\x1d\x1dx\x1d\x1d", 0.0)
