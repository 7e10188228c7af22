"""What can be done without a sandbox, and what one is asked to do."""

from typing import Any

import pytest

from execnode.policy.plan import Access
from execnode.policy.request import Demand, What
from execnode.policy.sandbox import files_request, start_request
from execnode.protocol.codec import JsonCodec
from execnode.protocol.errors import RpcError
from execnode.protocol.sandbox import SandboxContext
from tests.policy.worlds import READ_ALL, WRITE_ALL, WRITE_PROJECT, Entry, pattern, special


def sandbox(permissions: Any, **members: Any) -> SandboxContext:
    raw = {"permissions": permissions, "windowsSandboxLevel": "disabled", **members}
    return JsonCodec().decode_params(SandboxContext, raw)


def managed(*entries: Entry, network: str = "enabled") -> SandboxContext:
    files = {"type": "restricted", "entries": list(entries)}
    return sandbox(
        {"type": "managed", "file_system": files, "network": network}, cwd="file:///work"
    )


def code(asked: SandboxContext, *, reads: bool) -> int | bool:
    """The error of a read or of a write, or whether it needs a sandbox."""
    try:
        return files_request(asked, b"/some/folder", reads=reads) is not None
    except RpcError as error:
        return error.code


@pytest.mark.parametrize(
    ("asked", "read", "write"),
    [
        (sandbox({"type": "disabled"}), False, False),
        (sandbox({"type": "danger-full-access"}), False, False),
        (sandbox({"type": "external", "network": "enabled"}), False, False),
        (sandbox({"type": "external", "network": "restricted"}), False, False),
        (sandbox({"type": "read-only"}), False, True),
        (sandbox({"type": "workspace-write"}, cwd="file:///work"), False, True),
        (managed(WRITE_ALL), False, False),
        (managed(WRITE_ALL, network="restricted"), False, False),
        (managed(WRITE_ALL, WRITE_PROJECT), False, False),
        (managed(WRITE_ALL, special("slash_tmp", "read")), False, True),
        (managed(WRITE_ALL, special("tmpdir", "deny")), True, True),
        (managed(READ_ALL), False, True),
        (managed(READ_ALL, pattern("*.env")), True, True),
        (managed(special("minimal", "write")), True, True),
        (managed(), True, True),
    ],
)
def test_what_restricts_nothing_is_done_directly(
    asked: SandboxContext, read: bool, write: bool
) -> None:
    assert [code(asked, reads=reads) for reads in (True, False)] == [read, write]


def test_files_have_no_cwd_of_their_own() -> None:
    assert code(sandbox({"type": "workspace-write"}), reads=True) == -32602


def test_a_process_has_a_folder_and_an_environment() -> None:
    asked = start_request(sandbox({"type": "workspace-write"}), b"/w", {b"TMPDIR": b"/t"})
    assert asked.cwd == b"/w"
    assert asked.demands is not None
    assert asked.demands[1:] == tuple(
        Demand(What.PATH, Access.WRITE, path) for path in (b"/w", b"/tmp", b"/t")
    )
    told = sandbox({"type": "workspace-write"}, cwd="file:///v", workspaceRoots=["file:///u"])
    asked = start_request(told, b"/w", {})
    assert asked.cwd == b"/v"
    assert asked.demands is not None
    assert [demand.where for demand in asked.demands] == [b"/", b"/u", b"/tmp"]
