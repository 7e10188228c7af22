"""From what a profile asks for to a plan.

For each place that is asked for this makes claims, adds those that protect what is protected
everywhere, and lets the normal form decide.

Links: a demand is about what its path leads to. A link on the way that could be changed from inside
is protected itself, or else another could be put in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from execnode.policy import glob, look
from execnode.policy.glob import Glob
from execnode.policy.look import End, Place
from execnode.policy.normal_form import Claim, Scope, rules_of
from execnode.policy.plan import (
    MINIMAL_FOLDERS,
    UNRESTRICTED,
    Access,
    Plan,
    allows,
    is_below,
    join,
)
from execnode.policy.request import Demand, Request, What
from execnode.protocol.errors import INTERNAL_ERROR, RpcError, invalid_params

__all__ = ["PROTECTED_NAMES", "plan_for"]

# At the top of whatever may be written: what tools take orders from.
PROTECTED_NAMES: Final = (b".agents", b".aws", b".codex", b".git")
# Each becomes an argument of the helper and a mount.
_MATCHES_MAX: Final = 4096


def plan_for(
    request: Request, cwd: bytes | None = None, go_on: Callable[[], None] = lambda: None
) -> Plan:
    """Return the plan of a request.

    cwd: where the process is to begin. When it is there and not visible, the plan has `/` instead;
    when it is not there, it is left for chdir(2) to say so. go_on: called for each folder that is
    searched for a pattern; what it raises ends the search.

    Looks at the machine, and searches whole trees where the profile has patterns: call it in a
    thread. Raises RpcError: -32602 for a pattern that cannot be looked up or matches too much,
    -32603 when the system has no room for a search.
    """
    if request.demands is None or request.everything:
        return Plan(UNRESTRICTED.rules, network=request.network, cwd=cwd)
    claims = _Claims(request, go_on)
    for demand in request.demands:
        claims.take(demand)
    claims.protect_writable()
    claims.drop_diverted()
    claims.drop_shut()
    return _begin_in(claims.plan(), cwd)


def _begin_in(plan: Plan, cwd: bytes | None) -> Plan:
    if cwd is None:
        return plan
    place = look.resolve(cwd)
    if place.end is not End.FOUND:
        begin = cwd
    else:
        begin = place.real if allows(plan, place.real, Access.READ) else b"/"
    return Plan(plan.rules, plan.minimal, plan.missing, plan.network, begin)


@dataclass
class _Claims:
    """Claims as they are gathered.

    absent: paths that are not there and not to be made, and whether a demand to write exactly
    that path takes precedence.
    named: paths that a demand to write names, with and without the last link followed.
    linked: claims to write what links lead to, with these.
    shut: folders that hold something read-only and that we may not look into.
    """

    request: Request
    go_on: Callable[[], None]
    claims: list[Claim] = field(default_factory=list)
    absent: list[tuple[bytes, bool]] = field(default_factory=list)
    named: set[bytes] = field(default_factory=set)
    linked: list[tuple[Claim, tuple[bytes, ...]]] = field(default_factory=list)
    shut: set[bytes] = field(default_factory=set)
    minimal: bool = False
    matched: int = 0

    def take(self, demand: Demand) -> None:
        """Claim what a demand says."""
        match demand.what:
            case What.PATTERN:
                self._take_pattern(demand)
            case What.MINIMAL if demand.access is not Access.DENY:
                self.minimal = True
            case What.MINIMAL:
                for folder in MINIMAL_FOLDERS:
                    self._claim(look.resolve(folder), Access.DENY)
            case What.PATH | What.ROOT:
                place = look.resolve(demand.where)
                self._claim(place, demand.access)
                if demand.access is Access.WRITE:
                    self.named |= {place.target, _own_place(demand.where)}

    def protect_writable(self) -> None:
        """Claim the protected names at the top of every folder that may be written."""
        writable = {
            claim.path
            for claim in self.claims
            if claim.access is Access.WRITE and look.is_folder(claim.path)
        }
        for folder in sorted(writable):
            for name in PROTECTED_NAMES:
                self._protect(join(folder, name))

    def drop_diverted(self) -> None:
        """Take back what is granted through a link that an earlier sandbox may have made.

        Such a link lies in what may be written. One sandbox could otherwise put it where a folder
        is missing that is to be writable, and the next would get what it leads to. What was
        protected there stays so: another grant may reach it.
        """
        writable = [claim for claim in self.claims if claim.access is Access.WRITE]
        for claim, links in self.linked:
            others = [other.path for other in writable if other is not claim]
            if any(is_below(link, folder) for link in links for folder in others):
                self.claims.remove(claim)

    def drop_shut(self) -> None:
        """Take back the grant of a folder that hides what in it is to be read-only.

        An earlier sandbox may have shut it, and the next could open it again.
        """
        self.claims = [
            claim
            for claim in self.claims
            if not (claim.access is Access.WRITE and claim.path in self.shut)
        ]

    def plan(self) -> Plan:
        """Return what the claims come down to."""
        minimal = self._settle_minimal()
        rules = rules_of(self.claims, minimal=minimal)
        plan = Plan(rules, minimal, network=self.request.network)
        missing = {
            path
            for path, yields in self.absent
            if not (yields and path in self.named) and allows(plan, path, Access.WRITE)
        }
        return Plan(rules, minimal, tuple(sorted(missing)), self.request.network)

    def _settle_minimal(self) -> bool:
        """Whether the plan is to say `minimal`: it adds nothing where the root may be read."""
        root = max((claim.access for claim in self.claims if claim.path == b"/"), default=None)
        if self.minimal and root is Access.WRITE:
            for folder in MINIMAL_FOLDERS:
                self._claim(look.resolve(folder), Access.READ)
        return self.minimal and root in (None, Access.DENY)

    def _protect(self, path: bytes) -> None:
        """Claim that a path stays as it is, with the repository that a `.git` file leads to."""
        place = look.resolve(path)
        if path not in self.named:
            self._claim(place, Access.READ, Scope.WRITABLE)
        if place.end is End.FOUND and look.is_file(place.real):
            for folder in look.git_folders(place.real):
                self._claim(look.resolve(folder), Access.READ, Scope.WRITABLE)

    def _claim(self, place: Place, access: Access, scope: Scope = Scope.EVERYWHERE) -> None:
        """Claim an access for what a path leads to.

        Where it leads nowhere yet, a grant is void, and what restricts holds for the nearest thing
        from which the path could be made or opened.
        """
        self._claim_links(place, access, scope)
        if place.end is End.FOUND:
            claim = Claim(place.real, access, scope)
            self.claims.append(claim)
            if access is Access.WRITE and place.links:
                self.linked.append((claim, place.links))
        elif access is Access.WRITE or place.end is End.NEVER:
            return
        elif place.end is End.MISSING:
            yields = access is Access.READ and len(place.rest) == 1
            self.absent.append((join(place.real, place.rest[0]), yields))
        elif place.end is End.SHUT and access is Access.DENY:
            self.claims.append(Claim(place.real, Access.DENY, scope))
        else:
            self.claims.append(Claim(place.real, Access.READ, Scope.WRITABLE))
            if place.end is End.SHUT:
                self.shut.add(place.real)

    def _claim_links(self, place: Place, access: Access, scope: Scope) -> None:
        """Claim the links on the way: that they stay, and that what is granted is reached."""
        if access is Access.WRITE:
            scope = Scope.UNCOVERED
        elif access is Access.DENY:
            scope = Scope.WRITABLE
        self.claims += [Claim(link, Access.READ, scope, link=True) for link in place.links]

    def _take_pattern(self, demand: Demand) -> None:
        """Claim what matches. A pattern takes away and never grants.

        A link that matches is meant itself: what it leads to has a name of its own.
        """
        access = demand.access
        if access is Access.WRITE:
            return
        scope = Scope.EVERYWHERE if access is Access.DENY else Scope.WRITABLE
        try:
            globs = glob.parse(demand.where, self.request.cwd)
        except glob.PatternError as error:
            raise invalid_params(str(error)) from None
        for each in globs:
            base = look.resolve(each.base)
            self._claim_links(base, access, Scope.WRITABLE)
            if base.end is End.SHUT:
                self.claims.append(Claim(base.real, access, scope))
            if base.end is not End.FOUND or not look.is_folder(base.real):
                continue
            try:
                self._take_matches(base.real, each, access, scope)
            except OSError as error:
                message = f"the patterns could not be searched for: {error.strerror}"
                raise RpcError(INTERNAL_ERROR, message) from None

    def _take_matches(self, base: bytes, pattern: Glob, access: Access, scope: Scope) -> None:
        for match in look.matches(base, pattern, self.request.max_depth, self.go_on):
            self.claims.append(Claim(match.path, access, scope, match.link))
            self.matched += 1
            if self.matched > _MATCHES_MAX:
                raise invalid_params(f"the patterns match more than {_MATCHES_MAX} files")


def _own_place(path: bytes) -> bytes:
    """The path with its folder's links followed, and not its own."""
    folder, _, name = path.rstrip(b"/").rpartition(b"/")
    return join(look.resolve(folder or b"/").target, name) if name else b"/"
