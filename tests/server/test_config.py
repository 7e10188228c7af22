"""environmentConfig/read over the wire."""

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Launch
from tests.server.wire import Wire

METHOD = "environmentConfig/read"


def asking(cwd: str = "file:///", **more: Any) -> dict[str, Any]:
    return {"cwd": cwd, "configPaths": [["mcp_servers"]], "requirementsPaths": [], **more}


def test_what_a_node_says_of_its_files(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('model = "m"\n[mcp_servers.a]\ncommand = "x"\n')
    home = {b"HOME": b"/nowhere", b"CODEX_HOME": bytes(tmp_path)}
    with launch(env=home).connect() as wire:
        layer = {
            "source": f"user ({tmp_path}/config.toml)",
            "baseDir": f"file://{tmp_path}",
            "toml": '[mcp_servers.a]\ncommand = "x"\n',
        }
        assert wire.request(METHOD, **asking()) == {
            "userHomeDir": "file:///nowhere",
            "codexHomeDir": f"file://{tmp_path}",
            "hostname": socket.gethostname(),
            "config": {"layers": [layer], "cloudInsertionIndex": 0},
            "requirements": {"layers": [], "cloudInsertionIndex": 0},
        }
        (tmp_path / "config.toml").write_text("no toml")
        assert wire.refused(METHOD, **asking()).code == -32603


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"configPaths": []}, "at least one config or requirements path is required"),
        ({"configPaths": [[]]}, "TOML paths must contain at least one key segment"),
        ({"requirementsPaths": [["a"], []]}, "TOML paths must contain at least one key segment"),
        ({"cwd": "/x"}, "invalid URI: relative URL without a base"),
        ({"configPaths": None}, "invalid type: null, expected a sequence"),
    ],
)
def test_what_is_refused(wire: Wire, more: dict[str, Any], message: str) -> None:
    refusal = wire.refused(METHOD, **asking(**more))
    assert (refusal.code, refusal.message) == (-32602, message)


@pytest.mark.parametrize("missing", ["cwd", "configPaths", "requirementsPaths"])
def test_every_parameter_is_required(wire: Wire, missing: str) -> None:
    params = asking()
    del params[missing]
    refusal = wire.refused(METHOD, **params)
    assert (refusal.code, refusal.message) == (-32602, f"missing field `{missing}`")


def test_it_is_announced(wire: Wire) -> None:
    assert wire.request("environment/info")["capabilities"]["environmentConfigRead"] is True
