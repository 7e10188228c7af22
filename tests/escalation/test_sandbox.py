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
from execnode.escalation import Action, Deny, Escalate, ExecPolicyEscalation, Run
from execnode.policy.rules import parse_rules
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
    assert names(outside) == ["escalated"]


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def in_sandbox(inside: Interception, profile: str, script: str, *options: str) -> Ended:
    """A shell in a sandbox that has the socket."""
    words = ["--profile", profile, *options, "--pass-fd", "3", "--", "/bin/bash", "-c", script]
    return await collect(await inside.start([str(HELPER), *words], arg0="execnode-linux-sandbox"))


@pytest.mark.parametrize("profile", ["read-only", "workspace-write"])
async def test_touch_is_escalated_out_of_the_sandbox(
    profile: str, outside: Path, tmp_path: Path
) -> None:
    async with interception(decide) as inside:
        script = SCRIPT.format(outside)
        check(await in_sandbox(inside, profile, script, "--workspace", str(tmp_path)), outside)


async def test_no_other_command_of_git_runs_outside(outside: Path) -> None:
    """Git does by argv[0] what its arguments do not say: `git-init status` makes a folder."""
    allowed = 'prefix_rule(pattern = ["git", ["status", "init"]], decision = "allow")'
    policy = ExecPolicyEscalation(parse_rules(allowed, "rules"))
    script = f"""
    cd {outside}
    "$EXEC_WRAPPER" /usr/bin/git git-init status
    "$EXEC_WRAPPER" /usr/bin/git git init -q made
    """
    async with interception(policy.determine_action) as inside:
        ended = await in_sandbox(inside, "read-only", script)
    assert names(outside) == ["made"], ended.err


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
