"""The real Codex CLI works on the server under test."""

import base64
import os
import time
from collections.abc import Generator
from pathlib import Path
from select import select

import pytest

from tests.interop import programs
from tests.interop.cli import Codex
from tests.interop.cut import Link
from tests.interop.model import Result, Talk, command, keys, patch, picture
from tests.interop.scenario import Json

# A PNG of four by four pixels.
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR4nGP4z8AARwzEcQCukw/x0F8jngAAAABJRU5E"
    "rkJggg=="
)


def watched(result: Result) -> Generator[list[Json], list[Result], tuple[int, str]]:
    """Look at a command until it has ended; its exit code and all its output."""
    output = result.output
    while result.exit_code is None:
        (result,) = yield [keys(result.session)]
        output += result.output
    return result.exit_code, output


def until(text: str, result: Result) -> Generator[list[Json], list[Result], tuple[int | None, str]]:
    """Look at a command until its output holds a text; its session and all that output."""
    output = result.output
    while text not in output:
        (result,) = yield [keys(result.session)]
        output += result.output
    return result.session, output


def ticks(count: int) -> str:
    return "".join(f"tick {number}\n" for number in range(1, count + 1))


def appears(path: Path, text: str = "") -> None:
    """Wait for a file to be there and to hold a text."""
    deadline = time.monotonic() + 20
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def stands_still(path: Path) -> None:
    """Wait until a file is there and has not grown for half a second."""
    appears(path, "\n")
    size = -1
    while size != path.stat().st_size:
        size = path.stat().st_size
        time.sleep(0.5)


def test_a_command_runs(codex: Codex) -> None:
    def talk() -> Talk:
        (result,) = yield [command("echo hello | tee a.txt; echo err >&2; exit 3")]
        assert result.exit_code == 3
        assert sorted(result.output.splitlines()) == ["err", "hello"]
        assert result.tokens == 3

    codex.converse(talk())
    assert (codex.project / "a.txt").read_text() == "hello\n"


def test_a_terminal_takes_keys_and_ctrl_c(codex: Codex) -> None:
    script = """
        trap 'echo interrupted; exit 9' INT
        stty -echo; test -t 0 && stty size; echo ready
        while read line; do echo "got $line"; done
    """

    def talk() -> Talk:
        (result,) = yield [command(script, tty=True, wait_ms=1000)]
        session, output = yield from until("ready\r\n", result)
        assert output == "24 80\r\nready\r\n"
        for word in ("one", "two", "ä€"):
            (result,) = yield [keys(session, f"{word}\n", wait_ms=250)]
            session, output = yield from until("\r\n", result)
            assert output == f"got {word}\r\n"
        (result,) = yield [keys(session, "\x03")]
        code, output = yield from watched(result)
        assert (code, output.replace("^C", "")) == (9, "interrupted\r\n")

    codex.converse(talk())


def test_ctrl_c_reaches_a_command_without_a_terminal(codex: Codex) -> None:
    def talk() -> Talk:
        script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.01; done"
        (result,) = yield [command(script, wait_ms=1000)]
        session, _ = yield from until("ready\n", result)
        (result,) = yield [keys(session, "\x03")]
        code, output = yield from watched(result)
        assert (code, output) == (9, "interrupted\n")

    codex.converse(talk())


def test_a_long_command_is_looked_at_many_times(codex: Codex) -> None:
    def talk() -> Talk:
        script = "for i in $(seq 12); do echo tick $i; sleep 1; done"
        (result,) = yield [command(script, wait_ms=250)]
        looks = [result.output]
        while result.exit_code is None:
            (result,) = yield [keys(result.session, wait_ms=250)]
            looks.append(result.output)
        assert result.exit_code == 0
        assert len(looks) >= 3
        assert "".join(looks) == ticks(12)

    codex.converse(talk())


def test_output_over_a_mebibyte_is_counted_whole(codex: Codex) -> None:
    lines, width = 30_000, 100
    script = f"seq -f '%0{width - 1}.0f' {lines}"

    def talk() -> Talk:
        (result,) = yield [command(script)]
        assert result.exit_code == 0
        assert result.tokens == lines * width // 4
        first, last = f"{1:0{width - 1}d}\n", f"{lines:0{width - 1}d}\n"
        assert first in result.output
        assert result.output.endswith(last)

    codex.converse(talk())


def test_the_rules_of_a_project_reach_the_model(codex: Codex) -> None:
    (codex.project / "AGENTS.md").write_text("Answer in verse — always.\n")
    (codex.project.parent / "AGENTS.md").write_text("This is beyond the repository.\n")

    def talk() -> Talk:
        (result,) = yield [command("cat AGENTS.md")]
        assert result.output == "Answer in verse — always.\n"

    told = codex.converse(talk()).texts()
    assert "Answer in verse — always.\n" in told
    assert "This is beyond the repository." not in told


def test_the_skills_of_a_project_reach_the_model(codex: Codex) -> None:
    skill = codex.project / ".codex" / "skills" / "rhyming" / "SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text("---\nname: rhyming\ndescription: How to find rhymes.\n---\nThink.\n")

    def talk() -> Talk:
        (result,) = yield [command("true")]
        assert result.exit_code == 0

    assert "rhyming: How to find rhymes." in codex.converse(talk()).texts()


def test_a_picture_is_shown(codex: Codex) -> None:
    (codex.project / "x.png").write_bytes(PICTURE)

    def talk() -> Talk:
        shown, absent = yield [picture("x.png"), picture("y.png")]
        url = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
        assert isinstance(shown.content, list)
        assert [item["image_url"] for item in shown.content] == [url]
        assert "No such file or directory (os error 2)" in absent.text

    codex.converse(talk())


def test_a_patch_adds_changes_moves_and_removes_files(codex: Codex) -> None:
    (codex.project / "old.txt").write_text("one\ntwo\nthree\n")
    (codex.project / "gone.txt").write_text("gone\n")
    (codex.project / "here.txt").write_text("first\nlast\n")
    text = """*** Begin Patch
*** Add File: deep/er/new.txt
+añadido
*** Update File: old.txt
@@
 one
-two
+TWO
 three
*** Update File: here.txt
*** Move to: there.txt
@@
-first
+FIRST
 last
*** Delete File: gone.txt
*** End Patch
"""

    def talk() -> Talk:
        (result,) = yield [patch(text)]
        assert "Success. Updated the following files:" in result.text
        more = "*** Begin Patch\n*** Add File: other.txt\n+again\n*** End Patch"
        (result,) = yield [command(f"apply_patch <<'EOF'\n{more}\nEOF\n")]
        assert "A other.txt" in result.output

    codex.converse(talk())
    files = [path for path in codex.project.rglob("*") if path.is_file()]
    assert {str(path.relative_to(codex.project)): path.read_text() for path in files} == {
        "deep/er/new.txt": "añadido\n",
        "old.txt": "one\nTWO\nthree\n",
        "there.txt": "FIRST\nlast\n",
        "other.txt": "again\n",
    }


def test_a_cut_link_loses_nothing(codex: Codex, weak_link: Link) -> None:
    """What was written while nobody was there is delivered after the resume, and so is the end."""
    script = "for i in $(seq 200); do echo tick $i | tee -a log; sleep 0.01; done"

    def talk() -> Talk:
        (result,) = yield [command(script, wait_ms=250)]
        assert "tick 1\n" in result.output
        assert "tick 200\n" not in result.output
        weak_link.cut()
        appears(codex.project / "log", "tick 200\n")
        weak_link.mend()
        code, output = yield from watched(result)
        assert code == 0
        assert output == ticks(200)
        (result,) = yield [command("echo the link works")]
        assert result.output == "the link works\n"

    codex.converse(talk(), weak_link.url)
    assert weak_link.connections == 2


def test_a_link_cut_again_and_again_loses_nothing(codex: Codex, weak_link: Link) -> None:
    script = "for i in $(seq 300); do echo tick $i | tee -a log; sleep 0.01; done"

    def talk() -> Talk:
        (result,) = yield [command(script, wait_ms=250)]
        for number in (60, 120, 180, 240):
            appears(codex.project / "log", f"tick {number}\n")
            weak_link.drop()
        code, output = yield from watched(result)
        assert code == 0
        assert output == ticks(300)

    codex.converse(talk(), weak_link.url)
    assert weak_link.connections >= 2


def test_a_server_that_has_not_heard_of_a_lost_link(codex: Codex, weak_link: Link) -> None:
    """It may refuse the resume for as long as it believes in the old connection."""
    script = "for i in $(seq 300); do echo tick $i | tee -a log; sleep 0.01; done"

    def talk() -> Talk:
        (result,) = yield [command(script, wait_ms=250)]
        tell = weak_link.strand()
        appears(codex.project / "log", "tick 200\n")
        tell()
        code, output = yield from watched(result)
        assert code == 0
        assert output == ticks(300)

    codex.converse(talk(), weak_link.url)
    assert weak_link.connections >= 2


@pytest.mark.skipif(
    programs.SERVER == "codex", reason="it keeps one mebibyte while nobody is there"
)
def test_a_cut_link_loses_nothing_of_five_megabytes(codex: Codex, weak_link: Link) -> None:
    """Whether the server keeps it or holds the program back."""
    script = """
        echo begun; until [ -e go ]; do sleep 0.01; done
        for i in $(seq 100); do seq -f %049.0f 1000; echo $i >> pieces; done
    """

    def talk() -> Talk:
        (result,) = yield [command(script, wait_ms=250)]
        session, output = yield from until("begun\n", result)
        assert output == "begun\n"
        weak_link.cut()
        (codex.project / "go").touch()
        stands_still(codex.project / "pieces")
        weak_link.mend()
        (result,) = yield [keys(session)]
        sizes = [result.tokens]
        while result.exit_code is None:
            (result,) = yield [keys(session)]
            sizes.append(result.tokens)
        assert result.exit_code == 0
        assert 0 <= sum(sizes) - 100_000 * 50 // 4 < len(sizes)  # each is rounded up

    codex.converse(talk(), weak_link.url)


def test_a_start_that_fails_is_told(codex: Codex) -> None:
    (codex.project / "file").touch()

    def talk() -> Talk:
        nowhere, no_folder = yield [
            command("pwd", workdir=str(codex.project / "nowhere")),
            command("pwd", workdir=str(codex.project / "file")),
        ]
        assert "(-32603): No such file or directory (os error 2)" in nowhere.text
        assert "(-32603): Not a directory (os error 20)" in no_folder.text
        (result,) = yield [command("echo it goes on")]
        assert result.output == "it goes on\n"

    codex.converse(talk())


def test_eight_commands_run_at_once(codex: Codex) -> None:
    """Each waits for all the others to have begun."""
    script = "touch began-{0}; until [ $(ls began-* | wc -l) = 8 ]; do sleep 0.01; done; echo {0}"

    def talk() -> Talk:
        results = yield [command(script.format(number)) for number in range(8)]
        assert [result.exit_code for result in results] == [0] * 8
        assert [result.output for result in results] == [f"{number}\n" for number in range(8)]

    codex.converse(talk())


def test_a_server_that_the_cli_starts_itself(codex: Codex) -> None:
    """It is spoken to over its standard input and output."""

    def talk() -> Talk:
        (result,) = yield [command("read line; echo $line; exit 4", tty=True, wait_ms=250)]
        (result,) = yield [keys(result.session, "typed\n")]
        code, output = yield from watched(result)
        assert (code, output) == (4, "typed\r\ntyped\r\n")

    codex.converse(talk(), program=programs.server_command(programs.SERVER, "stdio"))


def test_a_command_that_is_left_running_ends_with_the_cli(codex: Codex) -> None:
    """It and its child hold a pipe open, which ends when both are gone."""
    path = codex.project / "pipe"
    os.mkfifo(path)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:

        def talk() -> Talk:
            script = "exec 3> pipe; echo begun >&3; sleep 1000 & wait"
            (result,) = yield [command(script, wait_ms=250)]
            assert result.session is not None
            assert select([pipe], [], [], 20)[0]
            assert pipe.read() == b"begun\n"

        codex.converse(talk())
        assert select([pipe], [], [], 20)[0], "it still runs"
        assert pipe.read() == b""
