"""A plan: what a sandbox is to enforce, resolved to paths of this machine.

Files: rules about absolute paths, of which the one with the longest matching path decides. READ
below WRITE is a carve-out, DENY hides, and what no rule covers is invisible. A path has no symbolic
link in it, except that a rule may be about a link itself, which then must stay as it is.

Everything here is pure. Equal policies give equal plans, so that a plan is a key to what was built
for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final

__all__ = [
    "FULL_NETWORK",
    "MINIMAL_FOLDERS",
    "NO_NETWORK",
    "UNRESTRICTED",
    "Access",
    "Network",
    "Plan",
    "Rule",
    "allows",
    "is_below",
    "join",
    "parent",
    "parents",
]

# What `minimal` shows for reading. It also gives a small /dev and /proc, of the sandbox's own.
MINIMAL_FOLDERS: Final = (b"/bin", b"/etc", b"/lib", b"/lib64", b"/sbin", b"/usr")


class Access(IntEnum):
    """What may be done with a path. Of rules about one path the greatest holds."""

    READ = 1
    WRITE = 2
    DENY = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be done with `path` and all below it. `link`: the path is a link, and is meant."""

    path: bytes
    access: Access
    link: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """`full`: no restriction. Otherwise TCP ports that may be connected to, and listened on."""

    full: bool
    connect: tuple[int, ...] = ()
    bind: tuple[int, ...] = ()


FULL_NETWORK: Final = Network(True)
NO_NETWORK: Final = Network(False)


@dataclass(frozen=True)
class Plan:
    """What may be reached from inside.

    rules: sorted by path, none redundant (normal_form.py).
    minimal: MINIMAL_FOLDERS may be read, where no rule says otherwise.
    missing: paths that must not come into being; the folder of each exists and may be written.
    cwd: where to begin; the root when the asked folder is not visible, None when none was asked.
    """

    rules: tuple[Rule, ...]
    minimal: bool = False
    missing: tuple[bytes, ...] = ()
    network: Network = NO_NETWORK
    cwd: bytes | None = None

    @property
    def unrestricted_files(self) -> bool:
        """Whether no path is treated differently from outside."""
        return self.rules == _EVERYTHING and not self.missing

    @property
    def unrestricted(self) -> bool:
        """Whether there is nothing to enforce."""
        return self.unrestricted_files and self.network.full

    @property
    def flat(self) -> bool:
        """Whether Landlock and a filter of system calls can say all of it, without namespaces.

        They hide nothing: whatever a path leads to can still be asked for its size and owner. And
        they know no right for modes, owners and times, so that the filter has to refuse to change
        these everywhere. So everything is visible, and nothing may be written.
        """
        return self.rules == _EVERYTHING_READ and not self.missing

    def pins(self) -> tuple[bytes, ...]:
        """Folders that may be written and yet must keep their names, sorted.

        They lie between the top of something writable and something in it that is protected by its
        path: if one were renamed, another could be made in its place. A mount keeps its name.
        """
        protected = {rule.path for rule in self.rules if rule.access is not Access.WRITE}
        found: set[bytes] = set()
        for path in (*protected, *self.missing):
            for folder in parents(path):
                rule = self._rule(folder)
                if rule is None or rule.access is not Access.WRITE or folder == rule.path:
                    break
                found.add(folder)
        return tuple(sorted(found))

    def helper_options(self) -> list[bytes]:
        """The plan as options of execnode-linux-sandbox; a folder comes before what is in it.

        The helper takes the paths literally: a rule about a link is about the link, and what has
        become a link since the plan was made is not followed.
        """
        words = {rule.path: self._word(rule) for rule in self.rules}
        words |= dict.fromkeys(self.pins(), b"--write") | dict.fromkeys(self.missing, b"--missing")
        options = [b"--literal"]
        options += [item for path, word in sorted(words.items()) for item in (word, path)]
        if self.minimal:
            options.append(b"--minimal")
        options += [b"--network", b"full" if self.network.full else b"none"]
        for word, ports in (
            (b"--connect-port", self.network.connect),
            (b"--bind-port", self.network.bind),
        ):
            options += [item for port in ports for item in (word, b"%d" % port)]
        if self.cwd is not None:
            options += [b"--cwd", self.cwd]
        return options

    def shows(self, path: bytes) -> bool:
        """Whether there is something at a path inside, if only on the way to what is visible."""
        return allows(self, path, Access.READ) or path in self._ways

    def deciding(self, path: bytes) -> Rule | None:
        """Return the rule with the longest matching path, None for what nothing covers.

        A name that must not come into being counts as denied, and `minimal` as rules that read.
        """
        for each in (path, *parents(path)):
            if each in self._missing:
                return Rule(each, Access.DENY)
            if each in self._by_path:
                return self._by_path[each]
            if self.minimal and each in MINIMAL_FOLDERS:
                return Rule(each, Access.READ)
        return None

    @cached_property
    def _by_path(self) -> dict[bytes, Rule]:
        return {rule.path: rule for rule in self.rules}

    @cached_property
    def _ways(self) -> frozenset[bytes]:
        visible = (rule.path for rule in self.rules if rule.access is not Access.DENY)
        return frozenset(folder for path in visible for folder in parents(path))

    @cached_property
    def _missing(self) -> frozenset[bytes]:
        return frozenset(self.missing)

    def _rule(self, path: bytes) -> Rule | None:
        return next(
            (self._by_path[each] for each in (path, *parents(path)) if each in self._by_path), None
        )

    def _cover(self, path: bytes) -> Access | None:
        rule = self._rule(path)
        return None if rule is None or rule.access is Access.DENY else rule.access

    def _above(self, path: bytes) -> Access | None:
        """What would hold for a path without the rule of its own."""
        return next((self._cover(folder) for folder in parents(path)), None)

    def _is_carve_out(self, rule: Rule) -> bool:
        return rule.access is Access.READ and self._above(rule.path) is Access.WRITE

    def _word(self, rule: Rule) -> bytes:
        match rule.access:
            case Access.DENY:
                return b"--deny"
            case Access.WRITE:
                return b"--write"
            case Access.READ:
                return b"--read-only" if self._is_carve_out(rule) else b"--read"


_EVERYTHING: Final = (Rule(b"/", Access.WRITE),)
_EVERYTHING_READ: Final = (Rule(b"/", Access.READ),)
UNRESTRICTED: Final = Plan(_EVERYTHING, network=FULL_NETWORK)


def allows(plan: Plan, path: bytes, right: Access) -> bool:
    """Return whether the plan lets a path be read (Access.READ) or written (Access.WRITE).

    The path is absolute and resolved. What a sandbox has of its own is not the plan's matter: the
    small /dev, /proc.
    """
    rule = plan.deciding(path)
    if rule is None or rule.access is Access.DENY:
        return False
    return right is Access.READ or (rule.access is Access.WRITE and right is Access.WRITE)


# --- paths ----------------------------------------------------------------------------------------


def parents(path: bytes) -> Iterable[bytes]:
    """The folders above an absolute path, the nearest first, `/` last."""
    while path != b"/":
        path = parent(path)
        yield path


def parent(path: bytes) -> bytes:
    """The folder that an absolute path is in; `/` is in itself."""
    return path[: path.rindex(b"/")] or b"/"


def join(folder: bytes, name: bytes) -> bytes:
    """The path of a name in a folder."""
    return (b"" if folder == b"/" else folder) + b"/" + name


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether a path is the folder itself or below it."""
    return path == folder or path.startswith(folder if folder == b"/" else folder + b"/")
