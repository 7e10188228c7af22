"""All rules together."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from execnode.policy.rules.decision import Match, Verdict
from execnode.policy.rules.rule import PrefixRule
from execnode.policy.rules.script import Opaque, simple_commands

__all__ = ["ExecPolicy"]

_SHELLS: Final = frozenset({"bash", "dash", "sh", "zsh"})
# Where a shell by its absolute path is the one of that name, unless host_executable says where.
_SHELL_FOLDERS: Final = frozenset({"/bin", "/usr/bin", "/usr/local/bin"})


class ExecPolicy:
    """Rules that say which commands may run. It never changes.

    rules: they all count, whatever their order.
    hosts: for the base name of a program, the absolute paths at which it is that program.
    """

    def __init__(
        self,
        rules: Iterable[PrefixRule] = (),
        hosts: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self.rules: Final = tuple(rules)
        self.hosts: Final = {name: frozenset(paths) for name, paths in (hosts or {}).items()}
        self._by_program: dict[str, list[PrefixRule]] = {}
        for rule in self.rules:
            for program in dict.fromkeys(rule.programs):
                self._by_program.setdefault(program, []).append(rule)

    def extended(
        self, rules: Iterable[PrefixRule], hosts: Mapping[str, Iterable[str]]
    ) -> ExecPolicy:
        """Return this policy with more rules; paths given for a name replace earlier ones."""
        return ExecPolicy((*self.rules, *rules), {**self.hosts, **hosts})

    def check(
        self, argv: Sequence[str], *, cwd: str | None = None, resolve: bool = True
    ) -> Verdict:
        """Return what the rules say of a command, without a look inside a shell's script.

        argv: the program and its arguments; the program may be a path.
        cwd: where a relative path of the program begins, absolute; None: such a path is compared
            with the rules as it is written.
        resolve: a program by its path, for which no rule is found, is looked up by its shortest
            path, and then by its base name: wherever it is, or if host_executable names it, at one
            of those paths only.
        """
        if not argv:
            return Verdict((), ((),))
        arguments = argv[1:]
        matches = self._matches([argv[0], *arguments])
        path = _absolute(argv[0], cwd) if resolve and not matches else None
        if path is not None:
            matches = self._matches([path, *arguments])
            name = posixpath.basename(path)
            if not matches and path in self.hosts.get(name, (path,)):
                matches = self._matches([name, *arguments], path)
        return Verdict(matches, () if matches else (tuple(argv),))

    def check_command(
        self, argv: Sequence[str], *, cwd: str | None = None, resolve: bool = True
    ) -> Verdict:
        """Return what the rules say of a command, and of those in the script if it is a shell's.

        `bash -lc SCRIPT` is taken apart into its simple commands, when it is provably made of
        nothing else, and every rule counts that speaks of one of them or of the shell itself. A
        rule for the shell speaks of its whole script. Arguments are those of check.
        """
        whole = self.check(argv, cwd=cwd, resolve=resolve)
        script = self._script(argv)
        if script is None:
            return whole
        try:
            commands = simple_commands(script)
        except Opaque as reason:
            return replace(whole, opaque=str(reason))
        parts = [self.check_command(each, cwd=cwd, resolve=resolve) for each in commands]
        return Verdict(
            (*whole.matches, *chain.from_iterable(part.matches for part in parts)),
            () if whole.matches else tuple(chain.from_iterable(p.unmatched for p in parts)),
            commands,
            next((part.opaque for part in parts if part.opaque), None),
        )

    def _matches(self, argv: Sequence[str], resolved: str | None = None) -> tuple[Match, ...]:
        rules = self._by_program.get(argv[0], ())
        return tuple(match for rule in rules if (match := rule.match(argv, resolved)) is not None)

    def _script(self, argv: Sequence[str]) -> str | None:
        """The script that a shell which we know is given as its only argument."""
        match argv:
            case [shell, "-c" | "-lc", script] | [shell, "-l", "-c", script]:
                return script if self._is_shell(shell) else None
        return None

    def _is_shell(self, program: str) -> bool:
        folder, name = posixpath.split(program)
        if name not in _SHELLS:
            return False
        if not folder:
            return True
        paths = self.hosts.get(name)
        return folder in _SHELL_FOLDERS if paths is None else program in paths


def _absolute(program: str, cwd: str | None) -> str | None:
    """The absolute path of a program that is given by a path, without `.`, `..` and `//`."""
    if "/" not in program or (cwd is None and not program.startswith("/")):
        return None
    path = posixpath.normpath(posixpath.join(cwd or "/", program))
    return "/" + path.lstrip("/")  # POSIX keeps two slashes at the start
