"""A node of a few lines, run as a process of its own: `python -m tests.engine.node [options]`.

It makes its trees, starts a guardian if told, and obeys lines on standard input, answering each
with one line. Processes are named by their number, from 0.

    start SCRIPT    run a shell script in a new place; answers its pid and its first line
    wait N          wait for it; answers its return code
    kill N          kill its tree; answers the way
    killall         kill the trees of all
    release N, alive N, reap, way, guardian, disable, close, dismiss
"""

import argparse
import ctypes  # noqa: F401 - another user may not reach the interpreter's files later
import os
import resource
import sys
from pathlib import Path

from execnode.engine.guardian import Guardian
from execnode.engine.tree import Place, Trees
from tests.engine.family import Child, nothing_leaks


class Node:
    def __init__(self, options: argparse.Namespace) -> None:
        self.places: list[Place] = []
        self.children: list[Child] = []
        self.unwaited: set[int] = set()
        own_pids = (lambda: self.unwaited) if options.subreaper else None
        self.trees = Trees.open(own_pids, cgroups=not options.no_cgroups)
        self.guardian: Guardian | None = None
        if options.guardian:
            self.guardian = Guardian.start(self.trees, options.guardian)

    def obey(self, verb: str, rest: str) -> object:
        match verb:
            case "start":
                place = self.trees.place()
                child = Child(place, rest)
                self.places.append(place)
                self.children.append(child)
                self.unwaited.add(child.pid)
                return f"{child.pid} {child.line}"
            case "wait":
                child = self.children[int(rest)]
                code = child.wait()
                self.unwaited.discard(child.pid)
                return code
            case "kill":
                pid = self.children[int(rest)].pid
                root = pid if pid in self.unwaited else 0
                return self.trees.kill(self.places[int(rest)], root)
            case "killall":
                self.trees.kill_all(self.places, self.unwaited)
                return None
            case "release":
                return self.trees.release(self.places[int(rest)])
            case "alive":
                return self.trees.alive(self.places[int(rest)])
            case "disable":
                self.trees.disable_cgroups("told so")
                return None
            case "reap":
                return self.trees.reap()
            case "way":
                return f"{self.trees.way} {self.trees.reason}".strip()
            case "guardian":
                return self.guardian and f"{self.guardian.pid} {self.guardian.alive}"
            case "close":
                return self.trees.close()
            case "dismiss":
                if self.guardian:
                    self.guardian.dismiss()
                return None
        raise ValueError(verb)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-cgroups", action="store_true")
    parser.add_argument("--subreaper", action="store_true")
    parser.add_argument("--guardian", type=Path)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--rttime", type=int, nargs=2, help="RLIMIT_RTTIME to run under")
    options = parser.parse_args()
    if options.uid:
        os.setgroups([])
        os.setresgid(options.uid, options.uid, options.uid)
        os.setresuid(options.uid, options.uid, options.uid)
    if options.rttime:
        resource.setrlimit(resource.RLIMIT_RTTIME, tuple(options.rttime))
    with nothing_leaks():
        node = Node(options)
        for line in sys.stdin:
            verb, _, rest = line.strip().partition(" ")
            print(node.obey(verb, rest), flush=True)
        node.trees.close()
        if node.guardian:
            node.guardian.dismiss()


if __name__ == "__main__":
    main()
