"""What can be done without a sandbox."""

from typing import Any

import pytest

from execnode.policy.sandbox import require_direct_files, require_direct_start
from execnode.protocol.errors import RpcError
from tests.policy.worlds import READ_ALL, WRITE_ALL, WRITE_PROJECT, Entry, pattern, special


def sandbox(permissions: Any, **members: Any) -> dict[str, Any]:
    return {"permissions": permissions, "windowsSandboxLevel": "disabled", **members}


def managed(*entries: Entry, network: str = "enabled") -> dict[str, Any]:
    files = {"type": "restricted", "entries": list(entries)}
    return sandbox(
        {"type": "managed", "file_system": files, "network": network}, cwd="file:///work"
    )


def code(raw: dict[str, Any] | None, reads: bool | None) -> int | None:
    """The error of a start (None), of a read or of a write; None when it is done directly."""
    try:
        if reads is None:
            require_direct_start(raw)
        else:
            require_direct_files(raw, reads=reads)
    except RpcError as error:
        return error.code
    return None


REFUSED = -32603


@pytest.mark.parametrize(
    ("raw", "start", "read", "write"),
    [
        (None, None, None, None),
        (sandbox({"type": "disabled"}), None, None, None),
        (sandbox({"type": "danger-full-access"}), None, None, None),
        (sandbox({"type": "external", "network": "enabled"}), None, None, None),
        (sandbox({"type": "external", "network": "restricted"}), REFUSED, None, None),
        (sandbox({"type": "read-only"}), REFUSED, None, REFUSED),
        (
            sandbox({"type": "workspace-write", "network_access": True}, cwd="file:///work"),
            *(REFUSED, None, REFUSED),
        ),
        (managed(WRITE_ALL), None, None, None),
        (managed(WRITE_ALL, network="restricted"), REFUSED, None, None),
        (managed(WRITE_ALL, WRITE_PROJECT), None, None, None),
        (managed(WRITE_ALL, special("slash_tmp", "read")), REFUSED, None, REFUSED),
        (managed(WRITE_ALL, special("tmpdir", "deny")), REFUSED, REFUSED, REFUSED),
        (managed(READ_ALL), REFUSED, None, REFUSED),
        (managed(READ_ALL, pattern("*.env")), REFUSED, REFUSED, REFUSED),
        (managed(special("minimal", "write")), REFUSED, REFUSED, REFUSED),
        (managed(), REFUSED, REFUSED, REFUSED),
        (sandbox({"type": "other"}), -32602, -32602, -32602),
        ({}, -32602, -32602, -32602),
    ],
)
def test_what_restricts_nothing_is_done_directly(
    raw: dict[str, Any] | None, start: int | None, read: int | None, write: int | None
) -> None:
    assert [code(raw, reads) for reads in (None, True, False)] == [start, read, write]


def test_files_have_no_cwd_of_their_own() -> None:
    raw = sandbox({"type": "workspace-write"})
    assert [code(raw, reads) for reads in (None, True)] == [REFUSED, -32602]
