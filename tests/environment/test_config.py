"""The config service by itself: real files."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from execnode.environment.local.config import LocalConfig
from execnode.protocol.config import ConfigLayer, ConfigReadParams, ConfigReadResponse
from execnode.protocol.errors import RpcError

MCP = ["mcp_servers"]


class Machine:
    """A home, a project and the system's folder."""

    def __init__(self, root: Path) -> None:
        self.home, self.project, self.system = root / "home", root / "project", root / "etc"
        self.codex = self.home / ".codex"
        for folder in (self.codex, self.project, self.system):
            folder.mkdir(parents=True)

    def server(self, folder: Path, name: str, file: str = "config.toml") -> None:
        folder.mkdir(exist_ok=True)
        (folder / file).write_text(f'secret = 1\n[mcp_servers.{name}]\ncommand = "{name}"\n')

    def trust(self, folders: dict[Path, str], more: str = "") -> None:
        said = "".join(f'[projects."{f}"]\ntrust_level = "{t}"\n' for f, t in folders.items())
        (self.codex / "config.toml").write_text(more + said)

    def read(
        self,
        cwd: Path | str | None = None,
        config: Sequence[list[str]] = (MCP,),
        requirements: Sequence[list[str]] = (),
    ) -> ConfigReadResponse:
        uri = cwd if isinstance(cwd, str) else f"file://{cwd or self.project}"
        params = ConfigReadParams(uri, list(config), list(requirements))
        return trio.run(LocalConfig(self.system).read, params)

    def servers(self, cwd: Path | None = None) -> list[str]:
        """The commands, from the weakest layer to the strongest."""
        layers = self.read(cwd).config.layers
        return [layer.toml.split('"')[1] for layer in layers]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("HOME", str(machine.home))
    monkeypatch.delenv("CODEX_HOME", raising=False)
    return machine


@pytest.fixture
def tree(machine: Machine) -> tuple[Path, Path, Path]:
    """A repository with a configuration in each of three folders."""
    root = machine.project
    middle, leaf = root / "m", root / "m" / "l"
    leaf.mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    for folder, name in ((root, "root"), (middle, "middle"), (leaf, "leaf")):
        machine.server(folder / ".codex", name)
    return root, middle, leaf


def test_without_files_there_are_no_layers(machine: Machine) -> None:
    response = machine.read(requirements=[["any"]])
    assert response.user_home_dir == f"file://{machine.home}"
    assert response.codex_home_dir == f"file://{machine.codex}"
    assert response.hostname == socket.gethostname()
    for layers in (response.config, response.requirements):
        assert (layers.layers, layers.cloud_insertion_index) == ([], 0)


def test_codex_home_may_be_elsewhere(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = machine.home / "els where"
    machine.server(elsewhere, "there")
    monkeypatch.setenv("CODEX_HOME", str(elsewhere))
    assert machine.read().codex_home_dir == f"file://{machine.home}/els%20where"
    assert machine.servers() == ["there"]
    monkeypatch.setenv("CODEX_HOME", str(machine.home / "absent"))
    with pytest.raises(RpcError, match="failed to find Codex home: ") as caught:
        machine.read()
    assert caught.value.code == -32603


def test_a_layer_holds_the_asked_keys_only(machine: Machine) -> None:
    (machine.codex / "config.toml").write_text('model = "m"\nkey = "secret"\n[t]\na = 1\nb = 2\n')
    layers = machine.read(config=[["model"], ["t", "b"], ["absent"]]).config.layers
    source = f"user ({machine.codex}/config.toml)"
    assert layers == [ConfigLayer(source, f"file://{machine.codex}", 'model = "m"\n\n[t]\nb = 2\n')]
    assert machine.read(config=[["absent"]]).config.layers == []


def test_the_machine_comes_first_and_its_administrator_last(machine: Machine) -> None:
    machine.server(machine.codex, "user")
    machine.server(machine.system, "system")
    machine.server(machine.system, "managed", "managed_config.toml")
    machine.server(machine.system, "required", "requirements.toml")
    assert machine.servers() == ["system", "user", "managed"]
    response = machine.read(requirements=[MCP])
    assert response.config.cloud_insertion_index == 1
    assert [layer.source for layer in response.requirements.layers] == [
        f"{machine.system}/requirements.toml"
    ]
    assert response.requirements.cloud_insertion_index == 1


# --- projects -------------------------------------------------------------------------------------


def test_a_trusted_repository_counts_from_its_root_down(
    machine: Machine, tree: tuple[Path, Path, Path]
) -> None:
    root, middle, leaf = tree
    assert machine.servers(leaf) == []
    machine.trust({root: "trusted"})
    assert machine.servers(leaf) == ["root", "middle", "leaf"]
    assert machine.servers(middle) == ["root", "middle"]
    assert machine.servers(leaf / "absent") == ["root", "middle", "leaf"]
    layer = machine.read(root).config.layers[0]
    assert layer.source == f"project ({root}/.codex/config.toml)"
    assert layer.base_dir == f"file://{root}/.codex"


def test_a_folder_may_be_trusted_by_itself(machine: Machine, tree: tuple[Path, Path, Path]) -> None:
    root, middle, leaf = tree
    machine.trust({middle: "trusted"})
    assert machine.servers(leaf) == ["middle"]
    machine.trust({root: "trusted", middle: "untrusted"})
    assert machine.servers(leaf) == ["root", "leaf"]
    machine.trust({root: "untrusted", leaf: "trusted"})
    assert machine.servers(leaf) == ["leaf"]


def test_without_a_repository_only_the_folder_itself_counts(
    machine: Machine, tree: tuple[Path, Path, Path]
) -> None:
    root, _, leaf = tree
    (root / ".git" / "HEAD").unlink()
    machine.trust({root: "trusted"})
    assert machine.servers(leaf) == []
    machine.trust({root: "trusted", leaf: "trusted"})
    assert machine.servers(leaf) == ["leaf"]
    (root / ".git").rmdir()
    (root / ".git").write_text("gitdir: elsewhere")  # a worktree
    assert machine.servers(leaf) == ["root", "middle", "leaf"]


def test_other_markers_of_a_root(machine: Machine, tree: tuple[Path, Path, Path]) -> None:
    root, middle, leaf = tree
    (middle / ".mark").touch()
    machine.trust({root: "trusted"}, 'project_root_markers = [".mark"]\n')
    assert machine.servers(leaf) == ["middle", "leaf"]


def test_trust_goes_through_links_to_the_real_folder(
    machine: Machine, tree: tuple[Path, Path, Path]
) -> None:
    root, _, _ = tree
    link = root.parent / "link"
    link.symlink_to(root)
    machine.trust({root: "trusted"})
    assert machine.servers(link / "m") == ["root", "middle"]
    machine.trust({link: "trusted"})
    assert machine.servers(root) == []


def test_a_project_does_not_say_where_data_goes(
    machine: Machine, tree: tuple[Path, Path, Path]
) -> None:
    root = tree[0]
    machine.trust({root: "trusted"})
    (root / ".codex" / "config.toml").write_text(
        'model = "m"\nnotify = ["x"]\nopenai_base_url = "u"'
    )
    layers = machine.read(root, config=[["model"], ["notify"], ["openai_base_url"]]).config.layers
    assert [layer.toml for layer in layers] == ['model = "m"\n']


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"bad = = toml", b'a = "\xff"', b"a = " + b"[" * 5000])
def test_a_file_that_is_no_toml(machine: Machine, text: bytes) -> None:
    (machine.codex / "config.toml").write_bytes(text)
    with pytest.raises(
        RpcError, match=r"^failed to load executor-local config: .*/config\.toml"
    ) as e:
        machine.read()
    assert e.value.code == -32603


def test_what_is_no_file(machine: Machine) -> None:
    os.mkfifo(machine.codex / "config.toml")
    with pytest.raises(RpcError, match=r"config\.toml: not a file") as caught:
        machine.read()
    assert caught.value.code == -32603


def test_a_broken_file_that_does_not_count_is_not_looked_at(
    machine: Machine, tree: tuple[Path, Path, Path]
) -> None:
    root = tree[0]
    (root / ".codex" / "config.toml").write_text("bad = = toml")
    assert machine.servers(root) == []
    machine.trust({root: "trusted"})
    with pytest.raises(RpcError, match="failed to load executor-local config: "):
        machine.read(root)


@pytest.mark.parametrize("uri", ["/x", "file://elsewhere/x", "http://h/"])
def test_a_cwd_that_is_no_folder_of_this_machine(machine: Machine, uri: str) -> None:
    with pytest.raises(RpcError) as caught:
        machine.read(uri)
    assert caught.value.code == -32602
