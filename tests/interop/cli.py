"""The real Codex CLI, headless, in a project of its own, with a scripted model."""

from __future__ import annotations

import json
import subprocess
from typing import Final

from tests.interop import programs
from tests.interop.model import Model, Talk, listening
from tests.interop.scratch import Scratch

# Seconds for a whole conversation.
_PATIENCE: Final = 50.0
# The model is one that the CLI knows, so that it offers all of its tools. Nobody else is asked for
# anything: without plug-ins the CLI does not look for any.
_CONFIG: Final = """
model = "gpt-5.5"
model_provider = "scripted"
check_for_update_on_startup = false
analytics.enabled = false
features.plugins = false

[model_providers.scripted]
name = "scripted"
base_url = "{url}"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""

# How the CLI is told of a server that it starts itself and speaks to over stdio.
_PROGRAM: Final = """
default = "own"

[[environments]]
id = "own"
program = {program}
args = {args}
"""


class Codex:
    """The CLI with a server to run things on.

    Args:
        folders: where both live.
        server_url: the server that the CLI is told of.
        sandbox: the CLI's mode: read-only, workspace-write or danger-full-access.

    Attributes:
        project: its folder, which is a git repository as far as the CLI looks.
    """

    def __init__(self, folders: Scratch, server_url: str, sandbox: str) -> None:
        self.server_url = server_url
        self.sandbox = sandbox
        self.project = folders.work / "project"
        (self.project / ".git").mkdir(parents=True)
        self._folders = folders
        self._home = folders.root / "cli-home"
        self._home.mkdir()

    def converse(
        self, talk: Talk, url: str | None = None, program: list[str] | None = None
    ) -> Model:
        """Have the CLI follow a script to its end.

        Args:
            talk: the script; what it raises is raised here.
            url: another way to the server.
            program: a command that the CLI starts instead, a server on standard input and output.

        Returns:
            The model, with the requests it has seen.
        """
        model = Model(talk)
        server = {"CODEX_EXEC_SERVER_URL": url or self.server_url}
        if program is not None:
            server = {}
            command, *args = program
            told = _PROGRAM.format(program=json.dumps(command), args=json.dumps(args))
            (self._home / "environments.toml").write_text(told)
        with listening(model) as api:
            (self._home / "config.toml").write_text(_CONFIG.format(url=api))
            report = self._run(server)
        if model.failure is not None:
            raise model.failure
        assert model.finished, report
        return model

    def _run(self, server: dict[str, str]) -> str:
        """Run the CLI to its end; what it said."""
        command = [str(programs.codex()), "exec", "--json", "--skip-git-repo-check"]
        command += ["--sandbox", self.sandbox, "--cd", str(self.project), "Do as the script says."]
        home = {"CODEX_HOME": str(self._home), **server}
        process = subprocess.Popen(
            programs.bound(command),
            cwd=self.project,
            env=self._folders.environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=_PATIENCE)
        finally:
            programs.end(process)
        return said.decode(errors="replace")
