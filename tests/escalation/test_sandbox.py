"""For real: a shell in a sandbox where nothing may be changed, whose touch runs outside."""

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest
import trio

from execnode.engine import Engine
from execnode.engine._pty import Sandbox
from execnode.engine.programs import HELPER
from execnode.escalation import Action, Deny, Escalate, Run
from tests.engine.pump import Pump, output
from tests.escalation.interception import Ended, Interception, collect, interception

pytestmark = pytest.mark.trio

SCRIPT = """
touch {0}/plain 2>/dev/null; echo $?
"$EXEC_WRAPPER" /usr/bin/touch touch {0}/escalated; echo $?
"$EXEC_WRAPPER" /bin/cp cp /dev/null {0}/run 2>/dev/null; echo $?
"$EXEC_WRAPPER" /bin/mv mv {0}/escalated {0}/denied; echo $?
"""


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that is writable in no profile."""
    folder = Path(mkdtemp(prefix="xe-", dir="/var/tmp"))
    yield folder
    rmtree(folder)


def decide(file: bytes, argv: list[bytes], workdir: bytes) -> Action:
    actions: dict[bytes, Action] = {b"/usr/bin/touch": Escalate(), b"/bin/mv": Deny("no")}
    return actions.get(file, Run())


def check(ended: Ended, outside: Path) -> None:
    assert ended.out.split() == ["1", "0", "1", "1"], ended.err
    assert ended.err == "execnode: /bin/mv: no\n"
    assert [path.name for path in outside.iterdir()] == ["escalated"]


@pytest.mark.parametrize("profile", ["read-only", "workspace-write"])
async def test_touch_is_escalated_out_of_the_sandbox(
    profile: str, outside: Path, tmp_path: Path
) -> None:
    options = ["--profile", profile, "--workspace", str(tmp_path), "--pass-fd", "3"]
    async with interception(decide) as inside:
        process = await inside.start(
            [str(HELPER), *options, "--", "/bin/bash", "-c", SCRIPT.format(outside)],
            arg0="execnode-linux-sandbox",
        )
        check(await collect(process), outside)


async def test_touch_is_escalated_where_the_engine_confines(outside: Path) -> None:
    async with interception(decide) as inside:
        check(await trio.to_thread.run_sync(confined, inside, SCRIPT.format(outside)), outside)


def confined(inside: Interception, script: str) -> Ended:
    """A shell that gave up its rights by Landlock and seccomp, in an engine of its own."""
    engine = Engine(memory_limit=1 << 20)
    env = [b"%b=%b" % pair for pair in {**os.environb, **inside.server.env}.items()]
    process = Pump(engine).run(
        [b"/bin/bash", b"-c", script.encode()],
        env=env,
        inherit=[inside.server.fd],
        sandbox=Sandbox([(b"/", "read")]),
    )
    code, out, err = process.exit_code, output(process), output(process, "stderr")
    process.close()
    engine.close()
    assert code is not None
    return Ended(code, out.decode(), err.decode(), None)
