"""What rules say `prompt` of is asked about, and done as the person answers."""

from pathlib import Path

import anyio
import pytest

from tests.mcp.clients import Person, Setting, connected, names, shell, text

pytestmark = pytest.mark.anyio

STDIO: list[Setting] = [("stdio", "legacy"), ("stdio", "auto")]
# The command writes a file; a redirection would do so as well, but makes a script opaque.
LOOK = "git status; touch done"
# So that git says the same wherever the test's folder is.
HIDDEN = "for each in 1; do git status; echo $? >> codes; done; touch done"


async def test_accepted_it_runs_though_the_answer_takes_longer_than_its_timeout(
    setting: Setting, rules: str, folder: Path
) -> None:
    person = Person("accept", takes=2.1)
    async with connected(setting, folder, "--rules", rules, person=person) as client:
        result = await shell(client, LOOK, timeout_ms=2000)
    assert (folder / "done").exists()
    assert not result.is_error
    assert result.structured_content["exit_code"] == 0
    assert result.structured_content["timed_out"] is False
    assert len(person.asked) == 1  # not again when git is executed
    assert "git status; touch done" in person.asked[0]
    assert str(folder) in person.asked[0]
    assert "have a look first" in person.asked[0]


async def test_declined_it_exits_1_and_nothing_of_it_runs(
    setting: Setting, rules: str, folder: Path
) -> None:
    person = Person("decline", takes=1.0)
    async with connected(setting, folder, "--rules", rules, person=person) as client:
        result = await shell(client, f"touch before; {LOOK}", timeout_ms=700)
    assert names(folder) == []
    assert result.is_error
    assert result.structured_content["exit_code"] == 1
    assert result.structured_content["refusal"] == "declined"
    assert "the user declined it" in text(result)


async def test_cancelled_it_exits_1_and_nothing_of_it_runs(
    setting: Setting, rules: str, folder: Path
) -> None:
    async with connected(setting, folder, "--rules", rules, person=Person("cancel")) as client:
        result = await shell(client, f"touch before; {LOOK}")
    assert names(folder) == []
    assert result.structured_content["exit_code"] == 1
    assert result.structured_content["refusal"] == "cancelled"
    assert "the user cancelled" in text(result)


async def test_a_program_inside_a_loop_is_asked_about_when_it_is_executed(
    setting: Setting, rules: str, folder: Path
) -> None:
    person = Person("accept", takes=2.1)
    async with connected(setting, folder, "--rules", rules, person=person) as client:
        result = await shell(client, f"bash -c '{HIDDEN}'", timeout_ms=2000)
    assert (folder / "codes").read_text() == "128\n"  # git's own: this is no repository
    assert result.structured_content["timed_out"] is False
    assert len(person.asked) == 1
    assert "/git status" in person.asked[0]


async def test_a_program_inside_a_loop_that_is_declined_exits_1_and_the_rest_goes_on(
    setting: Setting, rules: str, folder: Path
) -> None:
    async with connected(setting, folder, "--rules", rules, person=Person("decline")) as client:
        result = await shell(client, HIDDEN)
    assert (folder / "codes").read_text() == "1\n"
    assert (folder / "done").exists()
    assert "the user declined it" in result.structured_content["output"]
    assert result.structured_content["refusal"] == "declined"


async def test_a_question_that_is_cancelled_in_the_middle_ends_the_command(
    setting: Setting, rules: str, folder: Path
) -> None:
    async with connected(setting, folder, "--rules", rules, person=Person("cancel")) as client:
        result = await shell(client, f"trap '' TERM; {HIDDEN.replace('touch', 'sleep 60; touch')}")
    assert not (folder / "done").exists()
    assert result.is_error
    assert result.structured_content["exit_code"] == 1
    assert result.structured_content["refusal"] == "cancelled"


@pytest.mark.parametrize(
    "script",
    [
        "bash -c 'git status'; touch done",
        "sh -c 'bash -c \"git status; touch more\"; git status'; touch done",
        "bash -c 'git status'; bash -c 'git status'; touch done",
    ],
)
@pytest.mark.parametrize("setting", STDIO, ids="-".join)
async def test_what_is_accepted_is_not_asked_about_again_in_scripts_within(
    setting: Setting, script: str, rules: str, folder: Path
) -> None:
    person = Person("accept")
    async with connected(setting, folder, "--rules", rules, person=person) as client:
        await shell(client, script)
    assert (folder / "done").exists()
    assert len(person.asked) == 1
    assert script in person.asked[0]


async def test_a_script_that_is_accepted_when_its_shell_is_executed_is_not_asked_about_again(
    rules: str, folder: Path
) -> None:
    person = Person("accept")
    more = Path(rules).with_name("shells.rules")
    more.write_text('prefix_rule(pattern=["bash"], decision="prompt")')
    options = ["--rules", rules, "--rules", str(more)]
    env = {"SHELL": "/bin/sh"}
    async with connected(STDIO[1], folder, *options, person=person, env=env) as client:
        await shell(client, "for each in 1; do bash -c 'git status'; touch done; done")
    assert (folder / "done").exists()
    assert len(person.asked) == 1
    assert "/bash -c 'git status'" in person.asked[0]


@pytest.mark.parametrize(
    "script", ["bash -c 'git status'; ./again", "./again; bash -c 'git status'"]
)
async def test_only_so_many_execs_are_let_through_as_were_accepted(
    script: str, rules: str, folder: Path
) -> None:
    person = Person("accept")
    (folder / "again").write_text("#!/bin/sh\ngit status\nbash -c 'git status'\n")
    (folder / "again").chmod(0o755)
    async with connected(STDIO[1], folder, "--rules", rules, person=person) as client:
        await shell(client, script)
    assert len(person.asked) == 3  # the script, and two of three


async def test_a_program_under_another_name_is_not_what_was_accepted(
    rules: str, folder: Path
) -> None:
    person = Person("accept")
    async with connected(STDIO[1], folder, "--rules", rules, person=person) as client:
        await shell(client, "bash -c 'git status'; bash -c 'exec -a git-clone git status'")
    assert len(person.asked) == 2
    assert "exec -a git-clone" in person.asked[1]


async def test_each_of_several_execs_is_asked_about(
    setting: Setting, rules: str, folder: Path
) -> None:
    person = Person("accept")
    async with connected(setting, folder, "--rules", rules, person=person) as client:
        await shell(client, "for each in 1 2 3; do git status & done; wait")
    assert len(person.asked) == 3


async def test_several_calls_ask_at_once(setting: Setting, rules: str, folder: Path) -> None:
    person = Person("accept", takes=-1)
    async with (
        connected(setting, folder, "--rules", rules, person=person) as client,
        anyio.create_task_group() as tasks,
    ):
        for number in range(3):
            tasks.start_soon(shell, client, f"git status; touch done{number}")
        while len(person.asked) < 3:
            person.awaited = anyio.Event()
            await person.awaited.wait()
        assert names(folder) == []
        person.may_answer.set()
    assert names(folder) == ["done0", "done1", "done2"]


@pytest.mark.parametrize("setting", STDIO, ids="-".join)
async def test_forbidden_it_does_not_run_and_nobody_is_asked(
    setting: Setting, rules: str, folder: Path
) -> None:
    person = Person("accept")
    async with connected(setting, folder, "--rules", rules, person=person) as client:
        whole = await shell(client, "touch done && git push origin")
        hidden = await shell(client, "for each in 1; do git push origin; echo $? > code; done")
    assert person.asked == []
    assert not (folder / "done").exists()
    assert whole.structured_content["exit_code"] == 1
    assert whole.structured_content["refusal"] == "forbidden"
    assert "nothing leaves" in text(whole)
    assert (folder / "code").read_text() == "1\n"
    assert hidden.structured_content["refusal"] == "forbidden"
    assert "nothing leaves" in text(hidden)


@pytest.mark.parametrize("setting", STDIO, ids="-".join)
@pytest.mark.parametrize("command", [LOOK, HIDDEN], ids=["whole", "inside"])
async def test_a_client_that_cannot_ask_gets_a_refusal_unless_told_otherwise(
    setting: Setting, command: str, rules: str, folder: Path
) -> None:
    async with connected(setting, folder, "--rules", rules) as client:
        result = await shell(client, command)
    assert result.structured_content["refusal"] == "declined"
    assert "elicitation" in text(result)
    assert (folder / "done").exists() is (command is HIDDEN)
    allow = ["--without-elicitation", "allow"]
    async with connected(setting, folder, "--rules", rules, *allow) as client:
        result = await shell(client, command)
        forbidden = await shell(client, "git push")
    assert result.structured_content["refusal"] is None
    assert (folder / "done").exists()
    assert forbidden.structured_content["refusal"] == "forbidden"


@pytest.mark.parametrize("setting", STDIO, ids="-".join)
async def test_unmatched_commands_are_asked_about_if_that_is_wanted(
    setting: Setting, rules: str, folder: Path
) -> None:
    person = Person("decline")
    options = ["--rules", rules, "--unmatched", "prompt"]
    async with connected(setting, folder, *options, person=person) as client:
        declined = await shell(client, "touch done")
        allowed = await shell(client, "git log")
    assert declined.structured_content["refusal"] == "declined"
    assert not (folder / "done").exists()
    assert "No rule speaks of it." in person.asked[0]
    assert allowed.structured_content["exit_code"] == 128
    assert len(person.asked) == 1


async def test_a_question_shows_what_could_deceive_the_eye(rules: str, folder: Path) -> None:
    person = Person("decline")
    async with connected(("stdio", "auto"), folder, "--rules", rules, person=person) as client:
        await shell(client, "git status '\u202e' '\x1b[2K'")
    assert "git status '\\u202e' '\\x1b[2K'" in person.asked[0]


async def test_of_a_very_long_command_the_middle_is_not_shown(rules: str, folder: Path) -> None:
    person = Person("decline")
    async with connected(STDIO[1], folder, "--rules", rules, person=person) as client:
        await shell(client, "for each in 1; do git status first $(seq 100000) last; done")
    [asked] = person.asked
    assert len(asked) < 70_000
    assert "git status first" in asked
    assert "characters are not shown" in asked
    assert "99999 100000 last" in asked


async def test_a_session_asks_in_the_call_that_is_open(
    setting: Setting, rules: str, folder: Path
) -> None:
    person = Person("accept")
    async with connected(setting, folder, "--rules", rules, person=person) as client:
        script = "read line; for each in 1; do git status; done; touch done; read line"
        arguments = {"cmd": script, "tty": True, "login": False, "yield_time_ms": 250}
        first = await client.call_tool("exec_command", arguments)
        session = first.structured_content["session_id"]
        assert person.asked == []
        told = {"session_id": session, "chars": "go\n", "yield_time_ms": 2000}
        await client.call_tool("write_stdin", told)
        while not person.asked:
            await client.call_tool("write_stdin", {"session_id": session})
        last = await client.call_tool("write_stdin", {**told, "yield_time_ms": 30_000})
        assert len(person.asked) == 1
    assert last.structured_content["exit_code"] == 0
    assert (folder / "done").exists()
