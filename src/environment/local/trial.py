"""Whether a process that is started into a cgroup lives: found out by starting one."""

import logging
import os
import signal
from typing import Final

from execnode.engine import Engine, SpawnError
from execnode.engine.programs import HELPER
from execnode.engine.tree import Trees
from execnode.environment.local.pump import drive

__all__ = ["prove_cgroups"]

_logger = logging.getLogger(__name__)

# Seconds that the trial may take; it needs a thousandth.
_PATIENCE: Final = 2.0


def prove_cgroups(engine: Engine, trees: Trees) -> None:
    """Make the trees do without cgroups if a process started into one is refused or killed.

    It is killed by some kernels (Linux 6.18 among them) when somebody has once written to
    `cgroup.kill` of the cgroup that this process is in.
    """
    place = trees.place()
    try:
        if place.cgroup_fd < 0:
            return
        helper = os.fsencode(HELPER)
        process = engine.spawn([helper], [b"execnode"], [], b"/", cgroup_fd=place.cgroup_fd)
        drive(engine, lambda: process.exited, _PATIENCE)
        killed = process.exit_signal == signal.SIGKILL
        process.close()
        if killed:
            trees.disable_cgroups("the kernel kills what is started into one")
    except SpawnError as error:
        trees.disable_cgroups(str(error))
    finally:
        trees.release(place)
        if trees.way != "cgroup":
            _logger.info("processes are ended by %s: %s", trees.way, trees.reason)
