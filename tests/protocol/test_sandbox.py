"""What a sandbox object may say, in both encodings; texts as the server of the dialect has them."""

from typing import Any

import pytest

from execnode.protocol.codec import CborCodec, Codec, JsonCodec
from execnode.protocol.errors import RpcError
from execnode.protocol.messages import Request
from execnode.protocol.sandbox import (
    DangerFullAccess,
    Disabled,
    Entry,
    External,
    FixedPath,
    GlobPattern,
    Managed,
    Minimal,
    PolicyContext,
    ProjectRoots,
    ReadOnly,
    RestrictedFiles,
    Root,
    SandboxContext,
    SlashTmp,
    SpecialPath,
    Tmpdir,
    Unknown,
    UnrestrictedFiles,
    WorkingDirectory,
    WorkspaceWrite,
)
from execnode.protocol.text import OsText

ROOT = {"path": {"type": "special", "value": {"kind": "root"}}, "access": "read"}


def restricted(*entries: Any, **members: Any) -> dict[str, Any]:
    files = {"type": "restricted", "entries": list(entries), **members}
    return {"type": "managed", "file_system": files, "network": "restricted"}


def special(value: Any, access: Any = "read") -> dict[str, Any]:
    return {"path": {"type": "special", "value": value}, "access": access}


def of(permissions: Any, **members: Any) -> dict[str, Any]:
    return {"permissions": permissions, "windowsSandboxLevel": "disabled", **members}


@pytest.fixture(params=[JsonCodec(), CborCodec()], ids=lambda codec: codec.name)
def codec(request: pytest.FixtureRequest) -> Codec:
    made: Codec = request.param
    return made


def decode(raw: Any, codec: Codec | None = None) -> SandboxContext:
    return (codec or JsonCodec()).decode_params(SandboxContext, raw)


def error(raw: Any) -> str:
    with pytest.raises(RpcError) as caught:
        decode(raw)
    assert caught.value.code == -32602
    return caught.value.message


def test_all_members(codec: Codec) -> None:
    entries = [
        special({"kind": "minimal"}, "write"),
        special({"kind": "current_working_directory"}, "none"),
        special({"kind": "project_roots", "subpath": ".git"}),
        special({"kind": "tmpdir"}),
        special({"kind": "slash_tmp"}),
        special({"kind": "unknown", "path": "later", "subpath": None}),
        {"path": {"type": "path", "path": "file:///x"}, "access": "deny", "more": 1},
        {**ROOT, "path": {"type": "glob_pattern", "pattern": "**/*.env"}},
        {**ROOT, "missing_path_behavior": "skip"},
    ]
    raw = of(
        restricted(*entries, glob_scan_max_depth=3),
        cwd="file:///w",
        workspaceRoots=["file:///w"],
        policyContext={"cwd": None, "workspaceRoots": ["file:///v"]},
        userHomeDir=None,
        temporaryDirectories=["file:///tmp"],
        useLegacyLandlock=True,
        windowsSandboxProxySettingsMode="preserve",
        sandboxOverride="noOverride",
        mode="ignored",
    )
    expected = SandboxContext(
        Managed(
            RestrictedFiles(
                [
                    Entry(SpecialPath(Minimal()), "write"),
                    Entry(SpecialPath(WorkingDirectory()), "none"),
                    Entry(SpecialPath(ProjectRoots(".git")), "read"),
                    Entry(SpecialPath(Tmpdir()), "read"),
                    Entry(SpecialPath(SlashTmp()), "read"),
                    Entry(SpecialPath(Unknown("later")), "read"),
                    Entry(FixedPath("file:///x"), "deny"),
                    Entry(GlobPattern(OsText("**/*.env")), "read"),
                    Entry(SpecialPath(Root()), "read", "skip"),
                ],
                3,
            ),
            "restricted",
        ),
        "disabled",
        "file:///w",
        ["file:///w"],
        PolicyContext(None, ["file:///v"]),
        temporary_directories=["file:///tmp"],
        use_legacy_landlock=True,
        windows_sandbox_proxy_settings_mode="preserve",
    )
    assert decode(raw, codec) == expected
    sent = codec.decode(codec.encode(Request(1, "x", expected)))
    assert isinstance(sent, Request)
    assert decode(sent.params, codec) == expected


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ({"type": "disabled", "extra": 1}, Disabled()),
        ({"type": "external", "network": "enabled"}, External("enabled")),
        (
            {"type": "managed", "file_system": {"type": "unrestricted"}, "network": "enabled"},
            Managed(UnrestrictedFiles(), "enabled"),
        ),
        (
            restricted(glob_scan_max_depth=None),
            Managed(RestrictedFiles([]), "restricted"),
        ),
        ({"type": "read-only"}, ReadOnly()),
        ({"type": "workspace-write"}, WorkspaceWrite()),
        (
            {
                "type": "workspace-write",
                "writable_roots": ["/x", "file:///y"],
                "network_access": True,
                "exclude_tmpdir_env_var": True,
                "exclude_slash_tmp": True,
            },
            WorkspaceWrite(["/x", "file:///y"], True, True, True),
        ),
        ({"type": "danger-full-access"}, DangerFullAccess()),
    ],
)
def test_profiles(codec: Codec, permissions: Any, expected: Any) -> None:
    assert decode(of(permissions), codec).permissions == expected


SPECIALS = (
    "`root`, `minimal`, `current_working_directory`, `project_roots`, `tmpdir`, `slash_tmp`, "
    "`unknown`"
)


@pytest.mark.parametrize(
    ("permissions", "message"),
    [
        ({}, "missing field `type`"),
        ({"type": "managed"}, "missing field `file_system`"),
        (
            {"type": "managed", "fileSystem": {"type": "unrestricted"}, "network": "enabled"},
            "missing field `file_system`",
        ),
        (
            {"type": "managed", "file_system": {"type": "unrestricted"}},
            "missing field `network`",
        ),
        (
            {"type": "managed", "file_system": {}, "network": "restricted"},
            "missing field `type`",
        ),
        (
            {"type": "managed", "file_system": {"type": "x"}, "network": "restricted"},
            "unknown variant `x`, expected `restricted` or `unrestricted`",
        ),
        (
            {"type": "managed", "file_system": {"type": "restricted"}, "network": "restricted"},
            "missing field `entries`",
        ),
        ({"type": "external"}, "missing field `network`"),
        (
            {"type": "external", "network": "full"},
            "unknown variant `full`, expected `restricted` or `enabled`",
        ),
        (restricted({}), "missing field `path`"),
        (restricted({"path": ROOT["path"]}), "missing field `access`"),
        (
            restricted({**ROOT, "access": "execute"}),
            "unknown variant `execute`, expected one of `read`, `write`, `deny`, `none`",
        ),
        (
            restricted({**ROOT, "path": {"type": "x"}}),
            "unknown variant `x`, expected one of `path`, `glob_pattern`, `special`",
        ),
        (restricted({**ROOT, "path": {"type": "path"}}), "missing field `path`"),
        (restricted({**ROOT, "path": {"type": "glob_pattern"}}), "missing field `pattern`"),
        (restricted({**ROOT, "path": {"type": "special"}}), "missing field `value`"),
        (restricted(special({})), "missing field `kind`"),
        (
            restricted(special({"kind": "somewhere"})),
            f"unknown variant `somewhere`, expected one of {SPECIALS}",
        ),
        (restricted(special({"kind": "unknown"})), "missing field `path`"),
        (
            restricted({**ROOT, "missing_path_behavior": "x"}),
            "unknown variant `x`, expected `skip`",
        ),
    ],
)
def test_profiles_that_are_none(permissions: Any, message: str) -> None:
    assert error(of(permissions)) == message


@pytest.mark.parametrize(
    "permissions",
    [
        *(None, 5, "read-only", []),
        {"type": 5},
        restricted(5),
        restricted({**ROOT, "path": 5}),
        restricted(special("root")),
        restricted(special({"kind": "project_roots", "subpath": 5})),
        restricted(ROOT, glob_scan_max_depth=0),
        restricted(ROOT, glob_scan_max_depth=-1),
        restricted(ROOT, glob_scan_max_depth=1.5),
    ],
    ids=str,
)
def test_wrong_types(permissions: Any) -> None:
    assert error(of(permissions)).startswith(("invalid type: ", "invalid number"))


def test_an_unknown_profile_is_told_the_known_ones_and_ours() -> None:
    assert error(of({"type": "other"})) == (
        "unknown variant `other`, expected one of `managed`, `disabled`, `external`, `read-only`, "
        "`workspace-write`, `danger-full-access`"
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "missing field `permissions`"),
        ({"mode": "read-only"}, "missing field `permissions`"),
        ({"sandboxPolicy": {"type": "read-only"}}, "missing field `permissions`"),
        ({"permissions": {"type": "disabled"}}, "missing field `windowsSandboxLevel`"),
        (
            of({"type": "disabled"}, windowsSandboxLevel="x"),
            "unknown variant `x`, expected one of "
            "`disabled`, `restricted-token`, `elevated`, `mxc`",
        ),
        (
            of({"type": "disabled"}, windowsSandboxProxySettingsMode="x"),
            "unknown variant `x`, expected `reconcile` or `preserve`",
        ),
        (
            of({"type": "disabled"}, useLegacyLandlock=None),
            "invalid type: null, expected a boolean",
        ),
        (
            of({"type": "disabled"}, workspaceRoots=None),
            "invalid type: null, expected a sequence",
        ),
    ],
)
def test_objects_that_are_none(raw: Any, message: str) -> None:
    assert error(raw) == message
