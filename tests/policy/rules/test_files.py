"""Rule files: their mistakes, their examples, several of them, and what runs too long."""

from pathlib import Path

import pytest

from execnode.policy.rules import Decision, PrefixRule, RuleError, load_rules, parse_rules


def refusal(text: str) -> str:
    with pytest.raises(RuleError) as caught:
        parse_rules(text, "my.rules")
    return str(caught.value)


def test_a_rule_says_all_that_it_was_given() -> None:
    policy = parse_rules(
        'prefix_rule(pattern=["git", ["add", "rm"]], decision="prompt", justification="ask")', ""
    )
    assert policy.rules == (PrefixRule((("git",), ("add", "rm")), Decision.PROMPT, "ask"),)


def test_without_a_decision_a_rule_allows() -> None:
    assert parse_rules('prefix_rule(["git"])', "").rules[0].decision is Decision.ALLOW


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("[]", "pattern is empty; it would match every command"),
        ('"git"', "pattern is a list, not a string"),
        ('["a", []]', "a list of alternatives is empty; it would match no word"),
        ('["a", 3]', "an element of pattern is a string or a list, not of type int"),
        ('["a", ["b", None]]', "an alternative is a string, not None"),
        ('["a"], "deny"', 'decision is "allow", "prompt" or "forbidden", not "deny"'),
        ('["a"], 3', "decision is a string, not of type int"),
        ('["a"], justification=" "', "justification is empty"),
        ('["a"], match="a"', "match is a list, not a string"),
        ('["a"], match=[""]', "an example of match has no words"),
        ('["a"], not_match=[[3]]', "a word in not_match is a string, not of type int"),
        (
            '["a"], match=["a \'b"]',
            "an example of match has no right quotes: No closing quotation",
        ),
        ('["a"], canonical_matching=True', "canonical_matching is for systems where the letters'"),
        ("", "missing a required argument: 'pattern'"),
        ('["a"], reason="b"', "got an unexpected keyword argument 'reason'"),
    ],
)
def test_wrong_arguments_are_refused_where_they_are_given(arguments: str, reason: str) -> None:
    told = refusal(f"x = 1\nif x:\n    prefix_rule({arguments})")
    assert told.startswith(f"my.rules:3:5: prefix_rule: {reason}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('prefix_rule(["a"]\n\n', "my.rules:1:18: unexpected new line here"),
        ("x = 1\nx = = 2", "my.rules:2:5: unexpected symbol '=' here"),
        ("allow(1)", "my.rules:1:1: variable `allow` not found"),
        ("x = [1][3]", "my.rules:1:5: index `3` is out of bound"),
        ('load("b.rules", "x")', "my.rules:1:1: `load` is not allowed in this dialect"),
        ("prefix_rule([len])", "my.rules:1:1: a value of type `function` says nothing in a rule"),
        (
            'network_rule(host="a.b", protocol="https", decision="deny")',
            "my.rules:1:1: network_rule: rules for hosts of the network are not supported",
        ),
        (
            'host_executable("a/b", [])',
            "my.rules:1:1: host_executable: name is the base name of a program",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, told: str) -> None:
    assert refusal(text).startswith(told)


def test_a_message_is_one_line() -> None:
    assert "\n" not in refusal("def f(x): return f(x)\nf(1)")


def test_an_example_that_does_not_match_is_told_at_its_rule() -> None:
    assert refusal(
        'prefix_rule(["a"], match=["a b", ["a"]])\n\nprefix_rule(["b"], match=["b", "a b"])'
    ) == ("my.rules:3:1: prefix_rule: the rule does not match its example `a b`")


def test_an_example_that_must_not_match_is_told_at_its_rule() -> None:
    assert (
        refusal('for word in ["a", "b"]:\n  prefix_rule([word], not_match=[["b", "c d"]])')
        == "my.rules:2:3: prefix_rule: the rule matches `b 'c d'`, which it is not to"
    )


def test_examples_are_for_their_rule_alone() -> None:
    text = 'prefix_rule(["a"], not_match=["b"])\nprefix_rule(["b"], match=["b"])'
    assert len(parse_rules(text, "").rules) == 2


def test_the_rules_of_all_files_count(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('prefix_rule(["git"], "forbidden")')
    (tmp_path / "b").write_text('prefix_rule(["git"])\nprefix_rule(["ls"])')
    policy = load_rules([tmp_path / "a", tmp_path / "b"])
    assert policy.check(["git"]).decision is Decision.FORBIDDEN
    assert policy.check(["ls"]).decision is Decision.ALLOW


def test_a_mistake_in_one_of_several_files_is_told_with_its_name(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text('prefix_rule(["git"])')
    bad.write_bytes(b"x = '\xff'")
    with pytest.raises(RuleError) as caught:
        load_rules([good, bad])
    assert str(caught.value).startswith(f"{bad}: the file is not UTF-8")


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_rules([tmp_path / "none"])


@pytest.mark.parametrize(
    "text",
    [
        "x = [1 for i in range(2000000000)]",
        "for i in range(2000000000):\n  pass",
        "def f():\n  for i in range(2000000000):\n    for j in range(2000000000):\n      pass\nf()",
        "x = [i for i in range(2000000000) if i < 0]",
    ],
)
def test_a_loop_without_end_is_cut_off(text: str) -> None:
    assert "the file is at work for too long" in refusal(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('x = "a" * 1000000000000', "r:1:5: integer value is too big"),
        ("def f(n):\n  return f(n + 1)\nf(0)", "r:2:10: starlark call stack overflow"),
        ("f = lambda g: g(g)\nf(f)", "r:1:15: starlark call stack overflow"),
        ("x = list(range(1000000000))", "r: a value grows beyond all bounds"),
    ],
)
def test_a_value_or_a_call_without_bounds_is_refused(text: str, message: str) -> None:
    with pytest.raises(RuleError) as error:
        parse_rules(text, "r")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 400 + "]" * 400,
        "x = 1" + " + 1" * 20_000,
        "x = " + "not " * 20_000 + "1",
        "x = " + "1 if 1 else " * 20_000 + "1",
        "if 1:\n  pass\n" + "elif 1:\n  pass\n" * 10_000,
        "x = " + "(lambda: " * 400 + "1" + ")" * 400,
    ],
    ids=lambda text: text[:12],
)
def test_what_is_nested_deeply_ends_no_process(text: str) -> None:
    assert parse_rules(text, "").rules == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = " + "[" * 20_000 + "]" * 20_000, "nests brackets or functions more than 500 deep"),
        ("x = " + "len(" * 20_000 + ")" * 20_000, "nests brackets or functions"),
        ("x = " + "lambda: " * 20_000 + "1", "nests brackets or functions"),
        ("x = 1" + " + 1" * 70_000, "the file is too large"),
        ("x = []\nfor i in range(50000):\n  x = [x]\nprefix_rule(x)", "Maximum depth"),
        ("def f(x): return f(x)\nf(1)", "call stack overflow"),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_nested_too_deeply_is_refused(text: str, reason: str) -> None:
    assert reason.lower() in refusal(text).lower()


def test_many_rules_are_no_large_file() -> None:
    text = "\n".join(
        f'prefix_rule(pattern=["tool{n}", ["a", "b"]], match=["tool{n} a"])' for n in range(3000)
    )
    assert len(parse_rules(text, "").rules) == 3000
