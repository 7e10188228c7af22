"""docs/transport.md says what the code does."""

import re
import socket
from dataclasses import fields

from execnode.environment.local.files.handles import BLOCK_LIMIT
from execnode.environment.local.files.service import FileSettings
from execnode.environment.local.files.whole import READ_LIMIT
from execnode.environment.local.http import MAX_BODY
from execnode.environment.local.start import ExecLimits
from execnode.protocol import errors
from execnode.protocol.framing import FrameDecoder, frame
from execnode.server.node import NodeSettings
from tests.docs.markdown import Table, blocks, tables
from tests.locate import ROOT

DOCUMENT = ROOT / "docs" / "transport.md"
TABLES = list(tables(DOCUMENT))


def table(heading: str, kind: str) -> Table:
    found = [each for each in TABLES if each.heading == heading and each.columns[0] == kind]
    assert len(found) == 1, f"{len(found)} tables of {kind}s under {heading}"
    return found[0]


def test_every_error_code_is_documented() -> None:
    codes = {value for name, value in vars(errors).items() if name in errors.__all__}
    assert {row[0] for row in table("Messages and errors", "code").rows} == {
        str(value) for value in codes if isinstance(value, int)
    }


def amount(text: str) -> float:
    """The first number of a cell: bytes, seconds or a plain count."""
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "days": 86400}
    match = re.search(r"([\d,]+)(?: (\w+))?", text)
    assert match is not None
    return int(match[1].replace(",", "")) * units.get(match[2], 1)


def test_the_limits_are_those_of_the_node() -> None:
    rows = {row[2]: row[1] for row in table("Limits", "what").rows}
    node, execs = NodeSettings(), ExecLimits()
    assert amount(rows["--max-frame"]) == node.max_frame
    assert amount(rows["--max-sessions"]) == node.max_sessions
    assert amount(rows["--max-connections"]) == node.max_connections
    assert amount(rows["--max-processes"]) == execs.processes
    assert amount(rows["--max-retention"]) == execs.max_retention
    assert amount(rows["--memory"]) == node.execs.memory
    assert amount(rows["--spill"]) == node.execs.spill
    kept, _, seconds = rows["--keep-finished"].partition(" and ")
    assert (amount(kept), amount(seconds)) == (execs.kept, execs.keep_seconds)
    default, _, most = rows["--session-ttl, --max-session-ttl"].partition(";")
    assert (amount(default), amount(most)) == (node.session_ttl, node.max_session_ttl)
    assert {field.name for field in fields(ExecLimits)} == {
        *("retention", "max_retention", "process_memory", "processes", "kept", "keep_seconds")
    }


def test_the_limits_of_files_and_bodies_are_those_of_the_services() -> None:
    rows = {row[0]: row[1] for row in table("Limits", "what").rows}
    whole = rows["files that are being read whole at the same time; more wait"]
    assert amount(whole) == FileSettings().read_memory
    assert amount(rows["a file that is read whole"]) == READ_LIMIT
    assert amount(rows["a block of a file"]) == BLOCK_LIMIT
    assert amount(rows["the body of an HTTP response that is not streamed"]) == MAX_BODY


def test_the_bytes_of_the_conversation_make_a_node_answer_with_the_shown_ones(
    node_url: str,
) -> None:
    sent, expected = (bytes.fromhex(bare(block.text)) for block in blocks(DOCUMENT, "hex"))
    frames = FrameDecoder()
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(node_url.removeprefix("unix://"))
        link.sendall(sent)
        received: list[bytes] = []
        while len(received) < 3:  # the answers to 1 and 2, then the output
            received += [frame(payload) for payload in frames.feed(link.recv(65536))]
    assert received[2] == expected


def bare(text: str) -> str:
    return "".join(line.partition("#")[0] for line in text.splitlines())
