"""Run a command in a child that the engine has sandboxed: `fastpath.py UID RULES COMMAND...`.

RULES is a JSON list of [path, access]; "network" may follow as a third kind: ["full", "network"].
"""

import json
import os
import select
import sys
from pathlib import Path

from execnode.engine._pty import Engine, Sandbox


def main(uid: str, rules: str, *command: str) -> int:
    if int(uid) != os.getuid():
        os.setgroups([])
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
    listed = json.loads(rules)
    [network] = [value for value, kind in listed if kind == "network"] or ["none"]
    sandbox = Sandbox(
        [(os.fsencode(path), access) for path, access in listed if access != "network"],
        network=network,
    )
    engine = Engine(memory_limit=1 << 20)
    argv = [os.fsencode(word) for word in command]
    env = [b"%b=%b" % pair for pair in os.environb.items()]
    process = engine.spawn([argv[0]], argv, env, bytes(Path.cwd()), sandbox=sandbox)
    after = 0
    while True:
        records, _, _ = process.read(after, 1 << 20)
        for after, stream, _, data in records:  # noqa: B007
            os.write(2 if stream == "stderr" else 1, data)
        if process.ended and not records:
            break
        if not records:
            select.select([engine], [], [])
            engine.poll()
    code, _, _ = process.ending
    engine.close()
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
