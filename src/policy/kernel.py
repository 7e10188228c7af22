"""Which kernel can enforce which plan, and what to say where none can.

There are two ways. The fast one is Landlock and seccomp, applied by the child that becomes the
program. The other builds namespaces first. Which one is taken, and what is lost on it, is decided
here from what the machine was found to have.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from execnode.policy.plan import Plan, Protection

__all__ = ["Kernel", "fast_path", "losses", "refusal"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """What this machine gives, found out by trying it.

    landlock_abi: 0 without Landlock. seccomp: filters can be installed.
    namespaces: mount and PID namespaces can be made, by privilege or in a user namespace.
    link_mounts: something can be mounted over a symbolic link (move_mount(2)).
    """

    landlock_abi: int
    seccomp: bool = True
    namespaces: bool = True
    link_mounts: bool = True


# The Landlock ABI from which on it enforces something completely. Before 3 files could be
# truncated, before 4 there are no rules on ports, before 6 signals leave the sandbox.
_LANDLOCK: Final = {Protection.FILES: 3, Protection.PORTS: 4, Protection.OUTSIDE: 6}
_BY_NAMESPACES: Final = frozenset(
    {
        Protection.FILES,
        Protection.INVISIBLE,
        Protection.CARVE_OUTS,
        Protection.HIDDEN,
        Protection.MISSING,
        Protection.OUTSIDE,
    }
)

_NAMESPACES_HINT: Final = (
    "namespaces that this machine does not let the node make; allow user namespaces "
    "(sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns, the seccomp profile of a container), "
    "run the node as root"
)
_WHY: Final = {
    Protection.FILES: (
        "restricting files",
        "Landlock ABI 3 (Linux 6.2, `landlock` in the boot option lsm=) or " + _NAMESPACES_HINT,
    ),
    Protection.INVISIBLE: ("making the rest of the machine invisible", _NAMESPACES_HINT),
    Protection.CARVE_OUTS: ("read-only paths in writable folders", _NAMESPACES_HINT),
    Protection.HIDDEN: ("hiding paths in visible folders", _NAMESPACES_HINT),
    Protection.MISSING: ("keeping names from being created", _NAMESPACES_HINT),
    Protection.LINKS: (
        "keeping symbolic links as they are",
        "mounts over links (Linux 5.2) and " + _NAMESPACES_HINT,
    ),
    Protection.NETWORK: ("cutting off the network", "seccomp filters; allow them"),
    Protection.PORTS: (
        "allowing single ports",
        "Landlock ABI 4 (Linux 6.7, `landlock` in the boot option lsm=); enable it",
    ),
    Protection.OUTSIDE: (
        "keeping processes outside from being reached",
        "Landlock ABI 6 (Linux 6.12, `landlock` in the boot option lsm=) or " + _NAMESPACES_HINT,
    ),
}


def fast_path(plan: Plan, kernel: Kernel) -> bool:
    """Return whether Landlock and seccomp alone can enforce the whole plan."""
    return plan.needs() <= _landlock_gives(kernel)


def losses(plan: Plan, kernel: Kernel) -> frozenset[Protection]:
    """Return what the plan needs and this kernel gives on neither way."""
    return plan.needs() - _landlock_gives(kernel) - _namespaces_give(kernel)


def refusal(plan: Plan, kernel: Kernel, accepted: Set[str] = frozenset()) -> tuple[str, ...]:
    """Return a sentence for each protection that is missing and may not be; empty: go ahead.

    accepted: values of Protection whose loss the operator accepted.
    """
    refused = sorted(each.value for each in losses(plan, kernel) if each.value not in accepted)
    return tuple(_sentence(Protection(name)) for name in refused)


def _sentence(protection: Protection) -> str:
    what, how = _WHY[protection]
    return (
        f"this sandbox needs {what}, for which the node needs {how}, "
        f"or accept the loss with --accept-missing {protection.value}"
    )


def _landlock_gives(kernel: Kernel) -> frozenset[Protection]:
    given = {each for each, abi in _LANDLOCK.items() if kernel.landlock_abi >= abi}
    return frozenset(given | ({Protection.NETWORK} if kernel.seccomp else set()))


def _namespaces_give(kernel: Kernel) -> frozenset[Protection]:
    if not kernel.namespaces:
        return frozenset()
    return _BY_NAMESPACES | ({Protection.LINKS} if kernel.link_mounts else frozenset())
