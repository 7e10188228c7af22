"""Commands that are left running, and what `ps`, `logs`, `attach` and `kill` do with them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import Person, Program, RunningNode, alive, eventually, execnode, lines

WAITS = ["--", "sh", "-c", "echo ready; exec sleep 1000"]


def ended(node: RunningNode, ref: str) -> bool:
    return node.process(ref).closed


# ---- run --detach --------------------------------------------------------------------------------


def test_a_detached_command_goes_on_and_is_found_by_its_ref(node: RunningNode) -> None:
    done = node.run("run", "--detach", "--json", *WAITS)
    [started] = lines(done.stdout)
    process = node.process(started["ref"])
    assert (process.pid, process.returncode) == (started["pid"], None)
    assert not process.attached
    assert process.argv == WAITS[1:]
    assert alive(started["pid"])


def test_a_detached_command_that_writes_much_is_not_stopped(node: RunningNode) -> None:
    script = "import os; [os.write(1, bytes(65536)) for _ in range(512)]"
    ref = node.detached("--", sys.executable, "-c", script)
    assert eventually(lambda: ended(node, ref))
    assert node.process(ref).bytes["stdout"] == 512 * 65536
    logs = node.run("logs", ref)
    kept = len(logs.stdout)
    assert 15 << 20 < kept <= 16 << 20
    assert logs.stderr.decode() == f"execnode: {512 * 65536 - kept} bytes of stdout dropped here\n"


def test_a_detached_command_that_cannot_start_says_so(node: RunningNode) -> None:
    done = node.run("run", "--detach", "no-such-program")
    assert (done.returncode, done.stdout) == (127, b"")


def test_detached_and_fed_exclude_each_other(node: RunningNode) -> None:
    done = node.run("run", "--detach", "--stdin", "cat")
    assert (done.returncode, done.stdout) == (2, b"")


# ---- ps ------------------------------------------------------------------------------------------


def test_ps_lists_what_runs_in_columns(node: RunningNode) -> None:
    ref = node.detached("--", "sh", "-c", "exec sleep 1000 # two words")
    header, *rows = node.run("ps").stdout.decode().splitlines()
    assert header.split() == ["REF", "PID", "STATE", "STARTED", "CLIENT", "COMMAND"]
    [row] = [row for row in rows if row.startswith(ref)]
    assert row.split()[1:3] == [str(node.process(ref).pid), "running"]
    assert row.endswith("sh -c 'exec sleep 1000 # two words'")
    assert "execnode-cli, away" in row


def test_ps_shows_what_has_ended_if_asked(node: RunningNode) -> None:
    refs = {
        "exit 3": node.detached("--", "sh", "-c", "exit 3"),
        "signal 9": node.detached("--", "sh", "-c", "kill -9 $$"),
        "timeout": node.detached("--timeout", "0.01", "--", "sleep", "1000"),
    }
    assert eventually(lambda: all(ended(node, ref) for ref in refs.values()))
    everything = node.run("ps", "--all").stdout.decode().splitlines()
    running = node.run("ps").stdout.decode()
    for state, ref in refs.items():
        [row] = [row for row in everything if row.startswith(ref)]
        assert state in row
        assert ref not in running


def test_ps_tells_when_only_the_output_is_left(node: RunningNode) -> None:
    ref = node.detached("--", "sh", "-c", "sleep 1000 & exit 4")
    assert eventually(lambda: node.process(ref).returncode is not None)
    [row] = [row for row in node.run("ps").stdout.decode().splitlines() if row.startswith(ref)]
    assert "exit 4, output open" in row
    assert node.run("kill", ref).returncode == 0
    assert eventually(lambda: ended(node, ref))


def test_control_characters_of_a_command_line_stay_harmless(node: RunningNode) -> None:
    ref = node.detached("--", "sh", "-c", "exec sleep 1000", "\x1b[31mred\n")
    [row] = [row for row in node.run("ps").stdout.decode().splitlines() if row.startswith(ref)]
    assert row.endswith(r"'\x1b[31mred\n'")
    assert node.process(ref).argv[-1] == "\x1b[31mred\n"


def test_ps_at_a_terminal_is_cut_to_its_width(person: type[Person], node: RunningNode) -> None:
    ref = node.detached("--", "sh", "-c", "exec sleep 1000", "x" * 200)
    someone = person("ps", size=(24, 90), env=node.env)
    assert someone.ends() == 0
    rows = someone.text().splitlines()
    assert max(map(len, rows)) <= 90
    [row] = [row for row in rows if ref in row]
    assert str(node.process(ref).pid) in row
    assert row.rstrip().endswith("…")


# ---- logs ----------------------------------------------------------------------------------------


def test_logs_give_both_streams_apart_and_do_not_wait(node: RunningNode) -> None:
    ref = node.detached("--", "sh", "-c", "echo out; echo err >&2; exec sleep 1000")
    assert eventually(lambda: node.process(ref).bytes == {"stdout": 4, "stderr": 4})
    done = node.run("logs", ref[:7])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")
    done = node.run("logs", "--only", "stderr", ref)
    assert (done.stdout, done.stderr) == (b"", b"err\n")
    done = node.run("logs", "--only", "stdout", ref)
    assert (done.stdout, done.stderr) == (b"out\n", b"")


def test_logs_follow_to_the_end(program: type[Program], node: RunningNode, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ref = node.detached("--", "sh", "-c", f"echo first; cat {fifo}; echo last")
    following = program("logs", "--follow", ref, env=node.env)
    assert following.line() == "first"
    fifo.write_text("second\n")
    assert following.line() == "second"
    assert following.line() == "last"
    assert following.ends() == 0


def test_logs_of_a_terminal_go_to_stdout(node: RunningNode) -> None:
    ref = node.detached("--tty", "--", "sh", "-c", "echo out; echo err >&2")
    done = node.run("logs", "--follow", ref)
    assert (done.stdout, done.stderr) == (b"out\r\nerr\r\n", b"")


def test_a_slow_reader_of_logs_misses_nothing(program: type[Program], node: RunningNode) -> None:
    script = "import os; [os.write(1, bytes([n]) * 65536) for n in range(250)]"
    ref = node.detached("--", sys.executable, "-c", script)
    following = program("logs", "--follow", ref, env=node.env)
    assert eventually(lambda: ended(node, ref))
    assert following.popen.stdout is not None
    got = hashlib.sha256(following.popen.stdout.read()).digest()
    assert got == hashlib.sha256(b"".join(bytes([n]) * 65536 for n in range(250))).digest()


def test_logs_in_json_tell_of_gaps(node: RunningNode) -> None:
    script = "import os; os.write(1, bytes(100000)); os.write(2, b'end')"
    keep = "--retention", "drop-oldest:4K"
    ref = node.detached(*keep, "--", sys.executable, "-c", script)
    assert eventually(lambda: ended(node, ref))
    events = lines(node.run("logs", "--json", ref).stdout)
    for stream, total in (("stdout", 100000), ("stderr", 3)):
        shown = [each for each in events if each.get("stream") == stream]
        gaps = [each["bytes"].get(stream, 0) for each in events if each["event"] == "gap"]
        assert sum(len(each["text"]) for each in shown) + sum(gaps) == total
    assert any(each["event"] == "gap" for each in events)


def test_looking_at_a_process_does_not_let_go_of_what_its_client_missed(
    node: RunningNode,
) -> None:
    script = "import os; [os.write(1, bytes(65536)) for _ in range(64)]"
    keep = "--retention", "block:128K"
    ref = node.detached(*keep, "--", sys.executable, "-c", script)
    assert eventually(lambda: node.process(ref).bytes["stdout"] >= 65536)
    for _ in range(3):
        before = len(node.run("logs", ref).stdout)
        assert 0 < before <= 131072
    assert node.process(ref).returncode is None


# ---- attach, without a terminal ------------------------------------------------------------------


def test_attach_gives_the_exit_code_and_both_streams(
    program: type[Program], node: RunningNode, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ref = node.detached("--", "sh", "-c", f"echo out; echo err >&2; cat {fifo}; exit 7")
    attached = program("attach", ref, env=node.env, stdin=subprocess.DEVNULL)
    assert attached.line() == "out"
    fifo.write_text("more\n")
    assert attached.line() == "more"
    assert attached.ends() == 7
    assert attached.errors() == "err\n"


def test_a_reader_that_leaves_an_attach_does_not_end_the_process(
    program: type[Program], node: RunningNode
) -> None:
    ref = node.detached("--", "sh", "-c", "while :; do echo y; sleep 0.01; done")
    attached = program("attach", ref, env=node.env, stdin=subprocess.DEVNULL)
    assert attached.line() == "y"
    assert attached.popen.stdout is not None
    attached.popen.stdout.close()
    assert attached.ends() == 141
    assert node.process(ref).returncode is None


def test_input_reaches_a_command_that_takes_it(
    program: type[Program], node: RunningNode, tmp_path: Path
) -> None:
    running = program("run", *["--stdin", "--", "sh", "-c", "read x; echo got $x"], env=node.env)
    assert eventually(lambda: ref_of(node, "echo got"))
    done = node.run("attach", "--stdin", ref_of(node, "echo got"), input=b"from elsewhere\n")
    assert done.returncode == 0
    assert running.line() == "got from elsewhere"
    assert running.ends() == 0


def ref_of(node: RunningNode, words: str) -> str:
    processes = lines(node.run("ps", "--json").stdout)
    return next((each["ref"] for each in processes if words in each["argv"][-1]), "")


# ---- kill ----------------------------------------------------------------------------------------


def test_kill_ends_the_whole_tree_and_waits_for_it(node: RunningNode, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = (
        f"(setsid sleep 1000 & echo $! >{pid_file}.new; mv {pid_file}.new {pid_file}); sleep 1000"
    )
    ref = node.detached("--", "sh", "-c", script)
    assert eventually(pid_file.exists)
    daemon = int(pid_file.read_text())
    done = node.run("kill", "--json", "--grace", "0", ref)
    assert done.returncode == 0
    [answer] = lines(done.stdout)
    assert (answer["ref"], answer["running"], answer["reason"]) == (ref, True, "killed")
    assert answer["exitCode"] == 137
    assert not alive(daemon) or answer["method"] == "group"


def test_kill_lets_a_process_end_by_itself(node: RunningNode) -> None:
    script = "trap 'echo bye; exit 6' TERM; echo ready; while :; do sleep 0.01; done"
    ref = node.detached("--", "sh", "-c", script)
    assert eventually(lambda: node.process(ref).bytes["stdout"])
    done = node.run("kill", ref)
    assert (done.returncode, done.stdout.decode()) == (0, f"{ref}\n")
    assert node.run("logs", ref).stdout == b"ready\nbye\n"
    assert node.process(ref).returncode == 6


def test_kill_can_only_signal(node: RunningNode) -> None:
    script = "trap 'echo USR1' USR1; echo ready; while :; do sleep 0.01; done"
    ref = node.detached("--", "sh", "-c", script)
    assert eventually(lambda: node.process(ref).bytes["stdout"] == 6)
    done = node.run("kill", "--signal", "USR1", "--json", ref)
    assert lines(done.stdout) == [{"ref": ref, "signal": "USR1"}]
    assert eventually(lambda: node.process(ref).bytes["stdout"] == 11)
    assert node.process(ref).returncode is None


def test_kill_of_several_does_what_it_can(node: RunningNode) -> None:
    one, other = node.detached(*WAITS), node.detached(*WAITS)
    done = node.run("kill", "--grace", "0", one, "nobody", other)
    assert done.returncode == 1
    assert done.stdout.decode().split() == [one, other]
    error, hint = done.stderr.decode().splitlines()
    assert error == "error: no process on this node is called nobody"
    assert hint == "hint: see: execnode ps --all"
    assert node.process(one).returncode is not None
    assert node.process(other).returncode is not None


def test_kill_of_what_has_ended_is_no_error_but_a_signal_is(node: RunningNode) -> None:
    ref = node.detached("--", "true")
    assert eventually(lambda: ended(node, ref))
    assert node.run("kill", ref).returncode == 0
    done = node.run("kill", "--signal", "HUP", ref)
    assert done.returncode == 1
    assert b"has ended already" in done.stderr


def test_an_unknown_signal_is_refused(node: RunningNode) -> None:
    done = node.run("kill", "--signal", "FROB", node.detached(*WAITS))
    assert done.returncode == 1
    assert b"FROB" in done.stderr


# ---- refs ----------------------------------------------------------------------------------------


def test_the_beginning_of_several_refs_is_refused(socket_dir: Path) -> None:
    with RunningNode("--listen", f"unix://{socket_dir}/node.sock") as node:
        refs: list[str] = []
        while len({ref[0] for ref in refs}) == len(refs):
            refs.append(node.detached(*WAITS))
        twice = refs[-1][0]
        done = node.run("logs", twice)
        assert done.returncode == 1
        assert f"error: {twice} begins the refs of several processes: ".encode() in done.stderr


@pytest.mark.parametrize("verb", ["attach", "logs", "kill"])
def test_no_node_at_the_url(verb: str, tmp_path: Path) -> None:
    done = execnode(verb, "--node", f"unix://{tmp_path}/none.sock", "ref")
    assert done.returncode == (125 if verb == "attach" else 1)
    assert done.stderr.startswith(b"error: no node at unix://")


def test_ctrl_c_ends_a_follower_quietly(program: type[Program], node: RunningNode) -> None:
    ref = node.detached(*WAITS)
    following = program("logs", "--follow", ref, env=node.env)
    assert following.line() == "ready"
    following.signal(signal.SIGINT)
    assert following.ends() == 130
    assert following.errors().strip() == ""


# ---- completion ----------------------------------------------------------------------------------


def test_refs_are_completed(node: RunningNode) -> None:
    ref = node.detached(*WAITS)
    words = {"COMP_WORDS": "execnode kill ", "COMP_CWORD": "2"}
    env = {**node.env, **words, "_EXECNODE_COMPLETE": "bash_complete"}
    assert f"plain,{ref}" in execnode(env=env).stdout.decode().splitlines()


def test_without_a_node_no_ref_is_completed_and_nothing_said() -> None:
    words = {"COMP_WORDS": "execnode kill ", "COMP_CWORD": "2"}
    for node in ({}, {"EXECNODE_NODE": "unix:///no/such.sock"}):
        done = execnode(env={**node, **words, "_EXECNODE_COMPLETE": "bash_complete"})
        assert (done.stdout.strip(), done.stderr) == (b"", b"")


def test_everything_in_json_is_ascii_lines(node: RunningNode) -> None:
    ref = node.detached("--", "sh", "-c", "exec sleep 1000", "naïve")
    text = node.run("ps", "--json").stdout.decode("ascii")
    assert any(json.loads(line)["ref"] == ref for line in text.splitlines())
