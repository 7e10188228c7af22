"""The real Codex CLI in its sandboxed modes: what is allowed lands, what is refused says so."""

from pathlib import Path

import pytest

from tests.interop.cli import Codex
from tests.interop.model import Result, Talk, command, patch
from tests.interop.scratch import Scratch

READ_ONLY = "Read-only file system"
OUTSIDE = "patch rejected: writing outside of the project"


@pytest.fixture
def reader(folders: Scratch, server_url: str) -> Codex:
    return Codex(folders, server_url, sandbox="read-only")


@pytest.fixture
def writer(folders: Scratch, server_url: str) -> Codex:
    return Codex(folders, server_url, sandbox="workspace-write")


def refused(result: Result, *paths: str) -> None:
    """Each of the paths was refused, in words that people know."""
    assert result.exit_code not in (0, None), result.text
    told = [line for line in result.output.splitlines() if READ_ONLY in line]
    assert [path for path in paths if not any(path in line for line in told)] == [], result.text


def adding(path: str) -> str:
    return f"*** Begin Patch\n*** Add File: {path}\n+new\n*** End Patch\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_written_where_all_is_to_be_read(reader: Codex) -> None:
    (reader.project / "known.txt").write_text("known\n")

    def talk() -> Talk:
        (result,) = yield [command("cat known.txt; head -c 5 /etc/passwd >&2; echo $?")]
        assert result.output.splitlines() == ["known", "root:0"]
        (result,) = yield [command("for f in new .git/x /tmp/x-nope /etc/nope; do touch $f; done")]
        refused(result, "'new'", "'.git/x'", "'/tmp/x-nope'", "'/etc/nope'")
        (result,) = yield [command("echo changed > known.txt")]
        refused(result, "known.txt")
        (result,) = yield [command("rm known.txt")]
        refused(result, "known.txt")
        (result,) = yield [patch(adding("new.txt"))]
        assert result.text.startswith("patch rejected: writing is blocked by read-only sandbox")

    reader.converse(talk())
    assert names(reader.project) == [".git", "known.txt"]
    assert (reader.project / "known.txt").read_text() == "known\n"


def test_a_workspace_is_written_and_nothing_around_it(writer: Codex) -> None:
    outside = writer.project.parent / "outside.txt"
    outside.write_text("as it was\n")

    def talk() -> Talk:
        (result,) = yield [command("mkdir -p a/b && echo one > a/b/c.txt && mv a/b/c.txt d.txt")]
        assert (result.exit_code, result.output) == (0, "")
        (result,) = yield [command("echo two > ../outside.txt")]
        refused(result, "outside.txt")
        (result,) = yield [command("rm ../outside.txt")]
        refused(result, "outside.txt")
        (result,) = yield [command("ln -s ../outside.txt link && echo three > link")]
        refused(result, "link")
        (result,) = yield [command("touch /etc/nope")]
        refused(result, "/etc/nope")

    writer.converse(talk())
    assert outside.read_text() == "as it was\n"
    assert names(writer.project) == [".git", "a", "d.txt", "link"]


def test_the_names_that_steer_stay_as_they_are(writer: Codex) -> None:
    config = writer.project / ".git" / "config"
    config.write_text("[core]\n")

    def talk() -> Talk:
        (result,) = yield [command("cat .git/config; echo '[alias]' >> .git/config")]
        assert "[core]" in result.output
        refused(result, ".git/config")
        (result,) = yield [command("mkdir .git/hooks")]
        refused(result, ".git/hooks")
        (result,) = yield [command("mv .git .other")]
        assert result.exit_code not in (0, None)
        (result,) = yield [command("for n in .codex .agents; do mkdir $n; echo x > $n; done")]
        assert result.exit_code not in (0, None)
        (result,) = yield [patch(adding(".git/hooks/pre-commit"))]
        assert result.text.startswith(OUTSIDE)

    writer.converse(talk())
    assert config.read_text() == "[core]\n"
    assert names(writer.project) == [".git"]
    assert names(config.parent) == ["config"]


def test_a_patch_lands_in_the_workspace_only(writer: Codex) -> None:
    outside = writer.project.parent / "outside"
    outside.mkdir()
    (writer.project / "way-out").symlink_to(outside)

    def talk() -> Talk:
        (result,) = yield [patch(adding("in/side.txt"))]
        assert "Success. Updated the following files:" in result.text
        (result,) = yield [patch(adding(str(outside / "new.txt")))]
        assert result.text.startswith(OUTSIDE)
        # What the CLI cannot see by the path alone is refused by the server.
        (result,) = yield [patch(adding("way-out/new.txt"))]
        assert "Failed to write file" in result.text

    writer.converse(talk())
    assert (writer.project / "in" / "side.txt").read_text() == "new\n"
    assert names(outside) == []


def test_there_is_no_network(writer: Codex) -> None:
    script = (
        "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 9))'; "
        "python3 -c 'import socket; socket.socketpair()' && echo pair"
    )

    def talk() -> Talk:
        (result,) = yield [command(script)]
        assert "PermissionError: [Errno 1] Operation not permitted" in result.output
        assert result.output.endswith("pair\n")

    writer.converse(talk())
