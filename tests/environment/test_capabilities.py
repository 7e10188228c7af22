"""Capability discovery by itself: real folders."""

import os
from pathlib import Path

import msgspec
import pytest
import trio

from execnode.environment.local.capabilities import LocalCapabilities
from execnode.environment.local.files.service import LocalFiles
from execnode.protocol.capabilities import (
    CapabilityRoot,
    DiscoveredRoot,
    DiscoverParams,
    DiscoverRootsParams,
)
from execnode.protocol.errors import RpcError
from execnode.protocol.sandbox import (
    Disabled,
    Entry,
    FixedPath,
    Managed,
    RestrictedFiles,
    SandboxContext,
)


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str | bytes = "x") -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def uri(self, name: str) -> str:
        return f"file://{self.path}/{name}"

    def discover(self, name: str = "") -> DiscoveredRoot:
        return discover(CapabilityRoot("a", self.uri(name)))[0]

    def skills(self, name: str = "") -> list[str]:
        found = self.discover(name).skills
        return [skill.instructions.path.removeprefix(self.uri("")) for skill in found]

    def manifests(self, name: str = "") -> list[str]:
        found = self.discover(name).namespace_manifests
        return [file.path.removeprefix(self.uri("")) for file in found]


def discover(*roots: CapabilityRoot) -> list[DiscoveredRoot]:
    async def asked() -> list[DiscoveredRoot] | RpcError:
        async with LocalFiles.open() as files:
            try:
                params = DiscoverRootsParams(list(roots))
                return (await LocalCapabilities(files).discover_roots(params)).roots
            except RpcError as error:  # the service's task group would wrap it
                return error

    answer = trio.run(asked)
    if isinstance(answer, RpcError):
        raise answer
    return answer


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_skills_are_found_by_path(folder: Folder) -> None:
    for name in ("b", "a", ".hidden", "a/b/c", "node_modules/x"):
        folder.write(f"{name}/SKILL.md", name)
    folder.write("SKILL.md", "here")
    folder.write("no/skill.md")
    folder.write("a/agents/openai.yaml", "about a")
    assert folder.skills() == [
        ".hidden/SKILL.md",
        "SKILL.md",
        "a/SKILL.md",
        "a/b/c/SKILL.md",
        "b/SKILL.md",
        "node_modules/x/SKILL.md",
    ]
    skill = folder.discover().skills[2]
    assert skill.instructions.contents == "a"
    assert skill.metadata is not None
    assert (skill.metadata.path, skill.metadata.contents) == (
        folder.uri("a/agents/openai.yaml"),
        "about a",
    )
    assert folder.discover().skills[0].metadata is None


def test_skills_are_found_six_levels_down(folder: Folder) -> None:
    folder.write("1/2/3/4/5/6/SKILL.md")
    folder.write("1/2/3/4/5/6/7/SKILL.md")
    assert folder.skills() == ["1/2/3/4/5/6/SKILL.md"]


def test_links_are_followed_to_a_root_only(folder: Folder) -> None:
    folder.write("real/one/SKILL.md")
    (folder.path / "root").symlink_to("real")
    (folder.path / "real" / "again").symlink_to("one")
    (folder.path / "real" / "loop").symlink_to(".")
    (folder.path / "real" / "two").mkdir()
    (folder.path / "real" / "two" / "SKILL.md").symlink_to("../one/SKILL.md")
    assert folder.skills("root") == ["root/one/SKILL.md"]


@pytest.mark.parametrize("kind", [".codex-plugin", ".claude-plugin", ".cursor-plugin"])
def test_a_plugin_is_what_has_a_manifest(folder: Folder, kind: str) -> None:
    folder.write(f"p/{kind}/plugin.json", '{"name":"p"}')
    plugin = folder.discover("p").plugin
    assert plugin is not None
    assert plugin.manifest.path == folder.uri(f"p/{kind}/plugin.json")
    assert (plugin.mcp_config, plugin.apps_config) == (None, None)
    assert folder.discover().plugin is None


def test_the_first_manifest_counts(folder: Folder) -> None:
    folder.write(".claude-plugin/plugin.json")
    folder.write(".codex-plugin/plugin.json")
    assert folder.manifests() == [".codex-plugin/plugin.json"]


@pytest.mark.parametrize(
    ("manifest", "mcp", "apps"),
    [
        ("{}", ".mcp.json", ".app.json"),
        ("not json", ".mcp.json", ".app.json"),
        ("[" * 100_000, ".mcp.json", ".app.json"),
        ("[]", ".mcp.json", ".app.json"),
        ('{"mcpServers":"./m.json","apps":"./d/a.json"}', "m.json", "d/a.json"),
        ('{"mcpServers":"./none.json","apps":{"inline":1}}', None, None),
        (r'{"mcpServers":"./\ud800","apps":"./\u0000"}', None, None),
    ],
)
def test_files_that_a_manifest_refers_to(
    folder: Folder, manifest: str, mcp: str | None, apps: str | None
) -> None:
    folder.write(".codex-plugin/plugin.json", manifest)
    for name in (".mcp.json", ".app.json", "m.json", "d/a.json"):
        folder.write(name, name)
    found = folder.discover()
    assert found.warnings == []
    assert found.plugin is not None
    assert [
        file and file.contents for file in (found.plugin.mcp_config, found.plugin.apps_config)
    ] == [mcp, apps]


@pytest.mark.parametrize(
    ("reference", "rule"),
    [
        ("m.json", "start with `./`"),
        ("/etc/passwd", "start with `./`"),
        ("../m.json", "start with `./`"),
        ("./d/../../m.json", "not contain `..`"),
    ],
)
def test_a_manifest_refers_to_nothing_outside(folder: Folder, reference: str, rule: str) -> None:
    folder.write("p/.codex-plugin/plugin.json", f'{{"mcpServers":"{reference}"}}')
    folder.write("m.json")
    found = folder.discover("p")
    assert found.plugin is not None
    assert found.plugin.mcp_config is None
    manifest = folder.uri("p/.codex-plugin/plugin.json")
    assert found.warnings == [f"ignoring mcpServers in {manifest}: path must {rule}"]


def test_skills_belong_to_the_nearest_plugin_above(folder: Folder) -> None:
    folder.write("out/.codex-plugin/plugin.json", "out")
    folder.write("out/in/.codex-plugin/plugin.json", "in")
    folder.write("out/in/skills/q/SKILL.md")
    folder.write("out/skills/r/SKILL.md")
    folder.write("free/SKILL.md")
    inner, outer = "out/in/.codex-plugin/plugin.json", "out/.codex-plugin/plugin.json"
    assert folder.manifests() == [outer, inner]
    assert folder.manifests("out/in/skills") == [inner]
    assert folder.manifests("out/in/skills/q") == [inner]
    assert folder.manifests("free") == []


def test_what_is_left_out_is_said(folder: Folder) -> None:
    folder.write("a/SKILL.md", b"\xff")
    folder.write("b/SKILL.md", "x" * (1 << 20))
    folder.write("c/SKILL.md", "x" * ((1 << 20) + 1))
    os.mkfifo(folder.path / "b" / "fifo")
    (folder.path / "b" / "agents").mkdir()
    os.mkfifo(folder.path / "b" / "agents" / "openai.yaml")
    assert folder.skills() == ["b/SKILL.md"]
    assert folder.discover().warnings == [
        f"capability file {folder.uri('a/SKILL.md')} is not UTF-8: invalid start byte",
        f"capability file {folder.uri('c/SKILL.md')} exceeds the 1048576-byte limit",
    ]


def test_an_answer_is_bounded(folder: Folder) -> None:
    for number in range(20):
        folder.write(f"{number:02}/SKILL.md", "x" * (1 << 20))
    roots = discover(*(CapabilityRoot(str(n), folder.uri("")) for n in range(2)))
    assert [len(root.skills) for root in roots] == [20, 12]
    assert len(roots[1].warnings) == 8


def test_a_folder_is_looked_at_within_bounds(folder: Folder) -> None:
    for number in range(2100):
        (folder.path / str(number)).mkdir()
    (warning,) = folder.discover().warnings
    assert "holds more than is looked at" in warning


def test_a_root_that_cannot_be_read_concerns_no_other(folder: Folder) -> None:
    folder.write("file")
    folder.write("good/SKILL.md")
    named = {"x": "absent", "y": "file", "z": "good"}
    roots = [CapabilityRoot(key, folder.uri(name)) for key, name in named.items()]
    far, absent, file, good = discover(CapabilityRoot("h", "file://h/x"), *roots)
    assert far.error == (
        "failed to inspect capability root file://h/x: 'file://h/x' is invalid on 'linux'"
    )
    assert absent.error == (
        f"failed to inspect capability root {folder.uri('absent')}: "
        "No such file or directory (os error 2)"
    )
    assert file.error == f"capability root {folder.uri('file')} is not a directory"
    assert (good.id, good.error, len(good.skills)) == ("z", None, 1)
    assert discover() == []


def test_names_that_are_no_text(folder: Folder) -> None:
    odd = os.fsencode(folder.path) + b"/\xff"
    os.makedirs(odd + b"/s")  # noqa: PTH103 (bytes)
    Path(os.fsdecode(odd + b"/s/SKILL.md")).write_text("odd")
    found = folder.discover("%FF")
    assert found.path == folder.uri("%FF")
    assert [skill.instructions.path for skill in found.skills] == [folder.uri("%FF/s/SKILL.md")]


@pytest.mark.parametrize("path", ["/x", "http://h/"])
def test_what_is_no_uri_refuses_the_request(path: str) -> None:
    with pytest.raises(RpcError) as caught:
        discover(CapabilityRoot("a", "file:///"), CapabilityRoot("b", path))
    assert caught.value.code == -32602


# What profiles look like is for the policy to know (tests/policy).
UNRESTRICTED = SandboxContext(Disabled(), "disabled")


def only(*uris: str) -> SandboxContext:
    """Read these, and see nothing else."""
    files = RestrictedFiles([Entry(FixedPath(uri), "read") for uri in uris])
    return SandboxContext(Managed(files, "restricted"), "disabled")


def test_what_the_sandbox_does_not_show_is_not_found(folder: Folder) -> None:
    folder.write("s/SKILL.md")
    root = CapabilityRoot("a", folder.uri(""), only("file:///usr"))
    [hidden, shown] = discover(root, msgspec.structs.replace(root, sandbox=UNRESTRICTED))
    assert hidden.error == (
        f"failed to inspect capability root file://{folder.path}: "
        "No such file or directory (os error 2)"
    )
    assert hidden.skills == []
    assert len(shown.skills) == 1


def test_what_the_sandbox_shows_is_found(folder: Folder) -> None:
    folder.write("open/SKILL.md")
    folder.write("open/.claude-plugin/plugin.json", "{}")
    folder.write("shut/SKILL.md")
    sandbox = only(folder.uri("open"))
    roots = [CapabilityRoot(name, folder.uri(name), sandbox) for name in ("open", "shut")]
    [seen, hidden] = discover(*roots)
    assert (len(seen.skills), seen.plugin is not None, seen.error) == (1, True, None)
    assert (hidden.skills, hidden.error is not None) == ([], True)


@pytest.mark.trio
async def test_a_node_offers_nothing_by_itself() -> None:
    async with LocalFiles.open() as files:
        capabilities = LocalCapabilities(files)
        response = await capabilities.discover(DiscoverParams("file:///nowhere", UNRESTRICTED))
        assert (response.plugins, response.skills, response.warnings) == ([], [], [])
        with pytest.raises(RpcError) as caught:
            await capabilities.discover(DiscoverParams("/x"))
        assert caught.value.code == -32602
