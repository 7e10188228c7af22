"""A node in small, to be killed: `holder.py UID cgroup|lineage WORKSPACE HELPER`.

Starts a sandbox in its place, says `PID` of its launcher, and on a line of input ends the whole
tree, sweeps, and says what is left in the workspace.
"""

import os
import sys
import time
from pathlib import Path

from execnode.engine._pty import Engine
from execnode.engine.guardian import Guardian
from execnode.engine.placeholders import Placeholders
from execnode.engine.tree import Trees

NAMES = (b".agents", b".aws", b".codex", b".git")


def main(uid: str, way: str, workspace: str, helper: str) -> None:
    if int(uid) != os.getuid():
        os.setgroups([])
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
    trees = Trees.open(cgroups=way == "cgroup")
    if trees.way != way:
        print(f"skip {trees.reason}", flush=True)
        return
    guardian = Guardian.start(trees, Path(helper))
    placeholders = Placeholders()
    placeholders.guarded_by(guardian)
    missing = [os.fsencode(workspace) + b"/" + name for name in NAMES]
    placeholders.hold(missing)
    place = trees.place()
    engine = Engine(memory_limit=1 << 20)
    words = [b"execnode-linux-sandbox", b"--literal", b"--read", b"/"]
    words += [b"--write", os.fsencode(workspace)]
    words += [word for path in missing for word in (b"--missing", path)]
    words += [b"--", b"sleep", b"1000"]
    process = engine.spawn(
        [os.fsencode(helper)], words, [b"PATH=/usr/bin:/bin"], b"/",
        cgroup_fd=place.cgroup_fd,
        rlimits={15: place.rlimit_rttime} if place.rlimit_rttime else None,
    )  # fmt: skip
    print(process.pid, flush=True)
    sys.stdin.readline()
    trees.kill(place, process.pid)
    while not process.exited:
        engine.poll()
    while not trees.release(place):
        time.sleep(0.001)
    placeholders.release(missing)
    while not placeholders.sweep():  # the kernel may not have closed all that they held
        time.sleep(0.001)
    print(*sorted(path.name for path in Path(workspace).iterdir()), flush=True)
    trees.close()
    if guardian:
        guardian.dismiss()


if __name__ == "__main__":
    main(*sys.argv[1:])
