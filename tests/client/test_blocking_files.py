"""Files and HTTP without async, on a real node; what calls mean is tested where they are async."""

import inspect
import io
import random
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from execnode import client, embedded
from execnode.client import RpcError, Sandbox, SandboxReport, blocking, watch
from tests.web import Answer, Web, answer
from tests.workspace import workspace

MIB = 1 << 20


@pytest.fixture(scope="module")
def node(node_url: str) -> Iterator[blocking.Node]:
    with blocking.connect(node_url) as node:
        yield node


def names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("facade", "kind"),
    [
        (blocking.Node, client.Node),
        (blocking.Process, client.Process),
        (blocking.Files, client.Files),
        (blocking.File, client.RemoteFile),
        (blocking.Http, client.Http),
        (blocking.HttpStream, client.HttpStream),
        (blocking.Watch, watch.Watch),
        (blocking.MissingWatch, watch.MissingWatch),
    ],
)
def test_all_that_can_be_done_with_async_can_be_done_without(facade: type, kind: type) -> None:
    parts = {"notified", "link_lost", "link_made", "failed", "names"}  # of a session
    parts |= (
        {"told", "lost", "start"} if facade in (blocking.Watch, blocking.MissingWatch) else set()
    )
    parts |= {"open", "open_archive"} if facade is blocking.File else set()  # how it is made
    # Leaving the facade's context closes; iterating takes.
    assert names(kind) - names(facade) <= parts | {"aclose", "close", "take"}


def test_a_method_says_what_it_takes_and_means() -> None:
    assert blocking.Files.read.__doc__ == client.Files.read.__doc__
    assert inspect.signature(blocking.Files.download) == inspect.signature(client.Files.download)


# --- files ----------------------------------------------------------------------------------------


def test_whole_files_and_folders(node: blocking.Node, tmp_path: Path) -> None:
    files = node.files
    files.mkdir(tmp_path / "a/b")
    files.write(tmp_path / "a/b/file", b"data", atomic=True)
    assert files.read(tmp_path / "a/b/file") == b"data"
    assert files.stat(tmp_path / "a/b/file").size == 4
    assert [entry.name for entry in files.listdir(tmp_path / "a/b")] == ["file"]
    files.copy(tmp_path / "a", tmp_path / "c", recursive=True)
    assert files.walk(tmp_path / "c").entries[-1] == (f"{tmp_path}/c/b/file", "file")
    files.remove(tmp_path / "a", recursive=True)
    assert not files.exists(tmp_path / "a")
    assert files.realpath(tmp_path / "c/../c") == str(tmp_path / "c")
    with pytest.raises(FileNotFoundError) as caught:
        files.read(tmp_path / "no")
    assert caught.value.filename == str(tmp_path / "no")


def test_an_open_file(node: blocking.Node, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with node.files.open(path, "replace") as file:
        file.write(0, b"hello")
        file.write(8, b"there")
    assert path.read_bytes() == b"hello\0\0\0there"
    with node.files.open(path) as file:
        assert (file.size, file.read(8, 100)) == (13, b"there")
        assert file.digest("crc32c", 0, 5).bytes == 5
        file.close()
        with pytest.raises(RpcError, match="unknown file handle"):
            file.read(0)


def test_half_an_atomic_file_takes_no_place(node: blocking.Node, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half() -> None:
        with node.files.open(path, "replace", atomic=True) as file:
            file.write(0, b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_bytes() == b"old"


def test_transfers_and_trees(node: blocking.Node, tmp_path: Path) -> None:
    data = random.Random(3).randbytes(3 * MIB + 5)
    (tmp_path / "here/deep").mkdir(parents=True)
    (tmp_path / "here/deep/big").write_bytes(data)
    sent = node.files.upload(tmp_path / "here/deep/big", tmp_path / "there")
    assert (sent.size, (tmp_path / "there").read_bytes()) == (len(data), data)
    got = node.files.download(tmp_path / "there", tmp_path / "back", offset=5)
    assert (got.digest is not None, (tmp_path / "back").read_bytes()) == (True, data[5:])
    (tmp_path / "up").mkdir()
    node.files.upload_tree(tmp_path / "here", tmp_path / "up")
    node.files.download_tree(tmp_path / "up", tmp_path / "down")
    assert (tmp_path / "down/deep/big").read_bytes() == data


def test_an_archive_goes_from_node_to_node(
    node: blocking.Node, node_url: str, tmp_path: Path
) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from/file").write_bytes(random.Random(4).randbytes(2 * MIB))
    stream = b"".join(node.files.read_archive(tmp_path / "from"))
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        assert [name.removeprefix("./") for name in archive.getnames()][-1] == "file"
    with blocking.connect(node_url) as other:
        other.files.write_archive(node.files.read_archive(tmp_path / "from"), tmp_path / "to")
        assert (tmp_path / "to/file").read_bytes() == (tmp_path / "from/file").read_bytes()
        # The same node at both ends, and nothing waits for ever.
        node.files.write_archive(node.files.read_archive(tmp_path / "from"), tmp_path / "too")
    assert (tmp_path / "too/file").read_bytes() == (tmp_path / "from/file").read_bytes()


def test_an_archive_is_left_early(node: blocking.Node, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(4 * MIB))
    for _ in range(200):  # more than there may be handles
        pieces = node.files.read_archive(tmp_path / "file")
        assert len(next(pieces)) == MIB
        pieces.close()  # type: ignore[attr-defined]  # a generator, as its caller need not know


def test_what_fails_while_an_archive_is_made_is_raised(node: blocking.Node, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(512)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        node.files.write_archive(broken(), tmp_path / "to")


def test_changes_are_told(node: blocking.Node, tmp_path: Path) -> None:
    with node.files.watch(tmp_path) as changes:
        (tmp_path / "file").write_bytes(b"x")
        assert (str(tmp_path / "file"), "created") in next(changes).changes
    with node.files.watch_missing([tmp_path / "later"]) as missing:
        assert missing is not None
        (tmp_path / "later").touch()
        missing.wait()
    with node.files.watch_missing([tmp_path / "later"]) as missing:
        assert missing is None
    with pytest.raises(FileNotFoundError), node.files.watch(tmp_path / "no"):
        pass


def test_other_calls_go_on_while_one_waits_for_changes(node: blocking.Node, tmp_path: Path) -> None:
    with node.files.watch(tmp_path) as changes:
        told: list[watch.Changes] = []
        waiting = threading.Thread(target=lambda: told.append(next(changes)))
        waiting.start()
        assert node.files.listdir(tmp_path) == []
        node.files.write(tmp_path / "file", b"")
        waiting.join(15)
    assert told[0].changes[0] == (str(tmp_path / "file"), "created")


def test_files_within_a_sandbox(node: blocking.Node) -> None:
    with workspace() as folder:
        (folder / "secret").write_bytes(b"secret")
        inside = node.files.within(Sandbox.workspace_write(folder, deny=[folder / "secret"]))
        inside.write(folder / "file", b"data")
        assert inside.read(folder / "file") == b"data"
        assert inside.sandbox == SandboxReport("namespaces")
        with pytest.raises(PermissionError):
            inside.read(folder / "secret")
        assert node.files.read(folder / "secret") == b"secret"


def test_ctrl_c_ends_a_wait(node_url: str, tmp_path: Path) -> None:
    program = f"""
import signal, threading
from execnode.client import blocking
with blocking.connect({node_url!r}) as node:
    with node.files.watch({str(tmp_path)!r}) as changes:
        main = threading.main_thread().ident
        try:
            threading.Timer(0.5, signal.pthread_kill, [main, signal.SIGINT]).start()
            next(changes)
        except KeyboardInterrupt:
            print("ended")
    print(node.files.exists({str(tmp_path)!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.stderr, done.stdout) == ("", "ended\nTrue\n")


def test_an_embedded_node_has_files_and_http(tmp_path: Path) -> None:
    with embedded.connect() as here, Web({"/": answer(body=b"page")}) as web:
        here.files.write(tmp_path / "file", b"data")
        assert here.files.read(tmp_path / "file") == b"data"
        assert here.http.request("GET", f"{web.url}/").body == b"page"


# --- http -----------------------------------------------------------------------------------------


def test_requests_and_streams(node: blocking.Node) -> None:
    big = random.Random(5).randbytes(2 * MIB)
    pages: dict[str, Answer] = {
        "/": answer("201 Created", "x-one: 1", body=b"page"),
        "/big": answer(body=big),
    }
    with Web(pages) as web:
        reply = node.http.request("POST", f"{web.url}/", body=b"x", headers={"X-Mine": "yes"})
        assert (reply.status, reply.body) == (201, b"page")
        assert ("x-one", "1") in reply.headers
        with node.http.stream("GET", f"{web.url}/big") as stream:
            assert stream.status == 200
            assert ("content-length", str(len(big))) in stream.headers
            assert b"".join(stream) == big
        with node.http.stream("GET", f"{web.url}/big") as stream:
            assert next(stream)  # and the rest is left
        assert node.http.request("GET", f"{web.url}/").status == 201
    with pytest.raises(RpcError), node.http.stream("GET", f"{web.url}/"):
        pass
