"""Capability discovery over the wire."""

from pathlib import Path

from tests.server.wire import Json, Wire

ROOTS = "capabilityRoots/discoverV1"
ALL = "capabilities/discoverV2"


def test_what_folders_hold(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "plug" / ".codex-plugin").mkdir(parents=True)
    (tmp_path / "plug" / "skills" / "q").mkdir(parents=True)
    text = '{"name":"plug","mcpServers":"./m.json"}'
    (tmp_path / "plug" / ".codex-plugin" / "plugin.json").write_text(text)
    (tmp_path / "plug" / "m.json").write_text("{}")
    (tmp_path / "plug" / "skills" / "q" / "SKILL.md").write_text("---\nname: q\n---\n")
    uri = f"file://{tmp_path}/plug"
    roots = [{"id": "b", "path": uri + "/", "sandbox": None}, {"id": "c", "path": uri + "/none"}]
    manifest = {"path": f"{uri}/.codex-plugin/plugin.json", "contents": text}
    skill = {"path": f"{uri}/skills/q/SKILL.md", "contents": "---\nname: q\n---\n"}
    mcp = {"path": f"{uri}/m.json", "contents": "{}"}
    assert wire.request(ROOTS, roots=roots)["roots"] == [
        {
            "id": "b",
            "path": uri,
            "plugin": {"manifest": manifest, "mcpConfig": mcp, "appsConfig": None},
            "skills": [{"instructions": skill, "metadata": None}],
            "namespaceManifests": [manifest],
            "warnings": [],
            "error": None,
        },
        {
            "id": "c",
            "path": f"{uri}/none",
            "plugin": None,
            "skills": [],
            "namespaceManifests": [],
            "warnings": [],
            "error": f"failed to inspect capability root {uri}/none: "
            "No such file or directory (os error 2)",
        },
    ]
    assert wire.request(ROOTS, roots=[]) == {"roots": []}


def test_what_the_node_offers(wire: Wire) -> None:
    nothing: Json = {"plugins": [], "skills": [], "warnings": []}
    assert wire.request(ALL, cwd="file:///") == nothing
    assert wire.request(ALL, cwd="file:///nowhere", sandbox=None) == nothing


def test_what_is_refused(wire: Wire) -> None:
    for method, params, message in (
        (ROOTS, {}, "missing field `roots`"),
        (ROOTS, {"roots": [{"id": "a"}]}, "missing field `path`"),
        (ROOTS, {"roots": [{"path": "file:///"}]}, "missing field `id`"),
        (ROOTS, {"roots": [{"id": "a", "path": "/x"}]}, "invalid URI: relative URL without a base"),
        (ALL, {}, "missing field `cwd`"),
        (ALL, {"cwd": "/x"}, "invalid URI: relative URL without a base"),
    ):
        refusal = wire.refused(method, **params)
        assert (refusal.code, refusal.message) == (-32602, message)
    refusal = wire.refused(ALL, cwd="file:///", sandbox={"permissions": {"type": "managed"}})
    assert refusal.code in (-32602, -32603)


def test_what_is_announced(wire: Wire) -> None:
    capabilities = wire.request("environment/info")["capabilities"]
    assert capabilities["capabilityDiscoveryV2"] is True
    assert capabilities["capabilityDiscoverySandbox"] is True
