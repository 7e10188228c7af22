"""Scripts taken apart: what is simple, what is opaque, and what real shells make of it."""

import shutil
from collections import Counter

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from execnode.policy.rules.script import Opaque, simple_commands
from tests.policy.rules.shells import PROGRAMS, Shells

SHELLS = [path for name in ("bash", "dash", "zsh") if (path := shutil.which(name))]


@pytest.fixture(scope="module")
def shells(tmp_path_factory: pytest.TempPathFactory) -> Shells:
    shells = Shells(tmp_path_factory.mktemp("shells"))
    for name in ("a", "b", "file with blanks"):  # for patterns to match
        (shells.folder / "work" / name).touch()
    return shells


@pytest.mark.parametrize(
    ("script", "commands"),
    [
        ("a", [["a"]]),
        ("a b  c\t d", [["a", "b", "c", "d"]]),
        ("a && b || c | d; e\nf;", [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]),
        ("\n a \n\n b\n", [["a"], ["b"]]),
        ("a &&\n b |\n\tc", [["a"], ["b"], ["c"]]),
        ("a 'b c' \"d e\" ''", [["a", "b c", "d e", ""]]),
        ("a b'c'\"d\"e\\ f", [["a", "bcde f"]]),
        ("a '$x `y` \\ \"'", [["a", '$x `y` \\ "']]),
        ('a "b\\"\\$\\`\\\\\\n \' *"', [["a", "b\"$`\\\\n ' *"]]),
        (r"a \$b \; \| \* \a", [["a", "$b", ";", "|", "*", "a"]]),
        ("'a b' \"\"", [["a b", ""]]),
        ("a 'b\nc'", [["a", "b\nc"]]),
        ("a 'ä' \"→\"", [["a", "ä", "→"]]),
        ("a --b=c +d e:f,g @h i%j 12 3x", [["a", "--b=c", "+d", "e:f,g", "@h", "i%j", "12", "3x"]]),
        ("a 2>&1 | b", [["a"], ["b"]]),
        ("a >/dev/null 2>&1 && b 2> /dev/null", [["a"], ["b"]]),
        ("a </dev/null >>/dev/null >&2", [["a"]]),
        ("2>/dev/null a b", [["a", "b"]]),
        ("test -f x && echo yes", [["test", "-f", "x"], ["echo", "yes"]]),
    ],
)
def test_simple_commands_are_told_apart(script: str, commands: list[list[str]]) -> None:
    assert [list(command) for command in simple_commands(script)] == commands


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("a $b", "an expansion"),
        ("a ${b}", "an expansion"),
        ('a "$b"', "an expansion"),
        ("a $'b'", "an expansion"),
        ('a $"b"', "an expansion"),
        ("a $((1))", "an expansion"),
        ("a $(b)", "a substitution"),
        ('a "$(b)"', "a substitution"),
        ("a `b`", "a substitution"),
        ("a <(b)", "a substitution"),
        ("a > b", "a redirection"),
        ("a >> b", "a redirection"),
        ("a < b", "a redirection"),
        ("a >| /dev/null", "a redirection"),
        ("a &>/dev/null", "a redirection"),
        ("a >& b", "a redirection"),
        ("a 2>&1 b", "a redirection"),
        ("a >/dev/null b", "a redirection"),
        ("a>/dev/null", "a redirection"),
        ("a >&-", "a redirection"),
        ("a 3>&1", "a redirection"),
        ("2>&1", "a redirection"),
        ("a <<X\nb\nX\n", "a here-document"),
        ("a <<<b", "a here-string"),
        ("a &", "a command in the background"),
        ("a & b", "a command in the background"),
        ("a |& b", "more than simple commands"),
        ("! a", "a negation"),
        ("(a)", "a subshell"),
        ("{ a; }", "a group"),
        ("if a; then b; fi", "a condition"),
        ("case a in b) c;; esac", "a condition"),
        ("while a; do b; done", "a loop"),
        ("for a in b; do c; done", "a loop"),
        ("a() { b; }", "a function"),
        ("function a { b; }", "a function"),
        ("[[ a ]]", "a test"),
        ("[ a ]", "a test"),
        ("((a))", "a group"),
        ("A=b", "an assignment"),
        ("A=b c", "an assignment"),
        ("A=(b)", "an assignment"),
        ("export A=b", "a declaration"),
        ("unset a", "a declaration"),
        ("a # b", "a comment"),
        ("a *", "a character"),
        ("a ?", "a character"),
        ("a [b]", "a character"),
        ("a {b,c}", "a character"),
        ("a ~", "a character"),
        ("a ~/b", "a character"),
        ("a b^c", "a character"),
        ("a =b", "an expansion"),
        ("a %1", "an expansion"),
        ("a ä", "a character"),
        ("a\u00a0b", "a character"),
        ("time a", "`time`"),
        ("coproc a", "`coproc`"),
        ("noglob a", "`noglob`"),
        ("- a", "`-`"),
        ("'a'=b c", "`'a'=b`"),
        ("a \\\n b", "what cannot be told apart"),
        ("a b\\\nc", "what cannot be told apart"),
        ('a "b\\\nc"', "a character"),
        ("a ;; b", "more than simple commands"),
        ("a &&", "what is no correct script"),
        ("a 'b", "what is no correct script"),
        (";", "what is no correct script"),
        ("a\rb", "control characters"),
        ("a '\x01'", "control characters"),
        ("a '\udc80'", "control characters"),
    ],
)
def test_all_else_is_opaque(script: str, what: str) -> None:
    with pytest.raises(Opaque, match=r"^the script has ") as caught:
        simple_commands(script)
    assert str(caught.value).startswith(f"the script has {what}")


@pytest.mark.parametrize("script", ["", " ", "\n\n"])
def test_nothing_is_opaque_too(script: str) -> None:
    with pytest.raises(Opaque, match="the script is empty"):
        simple_commands(script)


@pytest.mark.parametrize(
    "script", ["a;" * 20_000, "a && " * 10_000 + "a", "(" * 60_000, "a " * 9**6]
)
def test_long_scripts_end_soon(script: str) -> None:
    try:
        commands = simple_commands(script)
    except Opaque:
        return
    assert set(commands) == {("a",)}


# --- against real shells --------------------------------------------------------------------------

TEXT = st.text(st.sampled_from("ab \t\n'\"\\$`|&;<>(){}[]*?~#!=%^,.-+é"), max_size=6)
PLAIN = st.text(st.sampled_from("ab0./:=+,@%-"), min_size=1, max_size=6).filter(
    lambda word: word[0] not in "=%"
)


def in_single(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def in_double(word: str) -> str:
    for special in '\\"$`':
        word = word.replace(special, "\\" + special)
    return f'"{word}"'


PIECE = st.one_of(
    PLAIN.map(lambda word: (word, word)),
    TEXT.map(lambda word: (word, in_single(word))),
    TEXT.map(lambda word: (word, in_double(word))),
)
ESCAPED = st.sampled_from("$;|*~#'\"\\&(){}<>").map(lambda word: (word, "\\" + word))
WORD = st.lists(PIECE, min_size=1, max_size=3).map(
    lambda pieces: ("".join(word for word, _ in pieces), "".join(text for _, text in pieces))
)
WORD = st.one_of(WORD.filter(lambda word: word[1][0] not in "=%"), ESCAPED)
COMMAND = st.tuples(
    st.sampled_from(PROGRAMS),
    st.lists(WORD, max_size=4),
    st.sampled_from(["", " 2>&1", " >/dev/null"]),
)
JOINT = st.sampled_from(["; ", " | ", " && ", "\n", "|", ";", " &&\n"])

Command = tuple[str, list[tuple[str, str]], str]


def spelled(command: Command) -> str:
    program, words, redirection = command
    return " ".join([program, *(text for _, text in words)]) + redirection


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=COMMAND, more=st.lists(st.tuples(JOINT, COMMAND), max_size=3))
def test_a_simple_script_is_told_apart_as_a_shell_does(
    shells: Shells, shell: str, first: Command, more: list[tuple[str, Command]]
) -> None:
    script = spelled(first) + "".join(joint + spelled(command) for joint, command in more)
    assume(" - 2>" not in script)  # the grammar loses that `-`, so it counts as opaque
    commands = [
        (program, *(word for word, _ in words))
        for program, words, _ in [first, *(command for _, command in more)]
    ]
    assert list(simple_commands(script)) == commands
    assert shells.run(shell, script) == Counter(commands)


SOUP = st.lists(
    st.sampled_from(
        [
            *PROGRAMS,
            *"ab   \n\n\t'\"\\$`|&;<>(){}[]*?~#!=%^.-+é12",
            "&&",
            "||",
            "2>&1",
            ">/dev/null",
            "'a b'",
            '"b"',
            "a=b",
            "if ",
            "then ",
            "fi",
            "time ",
            "in ",
            "$a",
            "a b",
        ]
    ),
    max_size=9,
).map("".join)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(program=st.sampled_from(PROGRAMS), soup=SOUP)
def test_no_script_that_is_told_apart_runs_anything_else(
    shells: Shells, shell: str, program: str, soup: str
) -> None:
    script = program + soup
    try:
        commands = simple_commands(script)
    except Opaque:
        event("opaque")
        return
    assume(all(command[0] in PROGRAMS for command in commands))
    event("simple")
    good, bad = shells.run(shell, script), shells.run(shell, script, code=1)
    assert good <= Counter(commands)
    assert bad <= Counter(commands)
    if "||" not in script:
        assert good == Counter(commands)
    assert {*good, *bad} == set(commands) or {"&&", "||"} <= set(_operators(script))


def _operators(script: str) -> list[str]:
    return [each for each in ("&&", "||") if each in script]
