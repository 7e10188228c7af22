"""Clients of both transports and both ways of asking."""

from pathlib import Path
from typing import Any

import pytest

from tests.mcp.clients import Setting

SETTINGS: list[Setting] = [
    ("stdio", "legacy"),
    ("stdio", "auto"),
    ("http", "legacy"),
    ("http", "auto"),
]

RULES = """
prefix_rule(pattern=["git", "status"], decision="prompt", justification="have a look first")
prefix_rule(pattern=["git", "push"], decision="forbidden", justification="nothing leaves")
prefix_rule(pattern=["git", "log"], decision="allow")
"""


@pytest.fixture(params=SETTINGS, ids="-".join)
def setting(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """A file of rules, beside the folder where commands run."""
    file = tmp_path / "my.rules"
    file.write_text(RULES)
    return str(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder
