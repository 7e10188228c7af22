"""Small trees of files, and plans of profiles about them."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from execnode.policy.plan import Access, Plan, allows
from execnode.policy.profile import plan_for
from execnode.policy.request import context_of, request_of
from execnode.protocol.codec import JsonCodec
from execnode.protocol.sandbox import SandboxContext
from execnode.protocol.uri import format_path_uri

Entry = dict[str, Any]


def special(kind: str, access: str, **members: str) -> Entry:
    return {"path": {"type": "special", "value": {"kind": kind, **members}}, "access": access}


def pattern(text: str, access: str = "deny") -> Entry:
    return {"path": {"type": "glob_pattern", "pattern": text}, "access": access}


READ_ALL = special("root", "read")
WRITE_ALL = special("root", "write")
WRITE_PROJECT = special("project_roots", "write")


class World:
    """A folder, and what the paths of a test are relative to."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.realpath(folder))

    def make(self, *files: str) -> None:
        """Make `folder/`, `file`, `file=text` and `link->target`; `~` stands for the world."""
        for file in files:
            name, arrow, target = file.partition("->")
            name, _, text = name.partition("=")
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if arrow:
                path.symlink_to(self.tell(target))
            elif name.endswith("/"):
                path.mkdir(exist_ok=True)
            else:
                path.write_text(self.tell(text))

    def tell(self, text: str) -> str:
        return text.replace("~", str(self.folder))

    def path(self, name: str) -> bytes:
        """A path; absolute as it is, otherwise in this world."""
        return os.fsencode(os.path.normpath(self.folder / name))

    def uri(self, name: str) -> str:
        return format_path_uri(self.path(name))

    def entry(self, name: str, access: str) -> Entry:
        return {"path": {"type": "path", "path": self.uri(name)}, "access": access}

    def sandbox(
        self,
        entries: list[Entry],
        roots: Iterable[str] = (".",),
        network: str = "restricted",
        depth: int | None = None,
        **members: Any,
    ) -> SandboxContext:
        files = {"type": "restricted", "entries": entries, "glob_scan_max_depth": depth}
        permissions = {"type": "managed", "file_system": files, "network": network}
        return self.context(permissions, roots, **members)

    def context(
        self, permissions: Any, roots: Iterable[str] = (".",), **members: Any
    ) -> SandboxContext:
        raw = {
            "permissions": permissions,
            "windowsSandboxLevel": "disabled",
            "cwd": self.uri("."),
            "workspaceRoots": [self.uri(root) for root in roots],
        }
        return JsonCodec().decode_params(SandboxContext, raw | members)

    def plan(self, *entries: Entry, tmpdir: bytes | None = None, **options: Any) -> Plan:
        return self.plan_of(self.sandbox(list(entries), **options), tmpdir)

    def plan_of(self, sandbox: SandboxContext, tmpdir: bytes | None = None) -> Plan:
        return plan_for(request_of(sandbox, context_of(sandbox, self.path("."), tmpdir)))

    def rights(self, plan: Plan, name: str) -> str:
        """What may be done with a path: `rw`, `r` or `-`."""
        read, write = (
            allows(plan, self.path(name), right) for right in (Access.READ, Access.WRITE)
        )
        assert read or not write
        return "rw" if write else "r" if read else "-"

    def check(self, plan: Plan, expected: str) -> None:
        """Compare the rights with `name:rw other:r another:-`."""
        names = [word.rpartition(":")[0] for word in expected.split()]
        assert [f"{name}:{self.rights(plan, name)}" for name in names] == expected.split()

    def told(self, plan: Plan) -> dict[str, str]:
        """The rules, `->` behind a link, and missing names, by path in this world."""
        rules = {self.name(rule.path): rule for rule in plan.rules}
        told = {
            name: rule.access.name + ("->" if rule.link else "") for name, rule in rules.items()
        }
        return told | {self.name(path): "missing" for path in plan.missing}

    def name(self, path: bytes) -> str:
        text = os.fsdecode(path)
        inside = text == str(self.folder) or text.startswith(f"{self.folder}/")
        return os.path.relpath(text, self.folder) if inside else text
