import datetime
import math
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execnode.environment.local.toml import select, to_toml

TEXT = """
model = "m"
[mcp_servers.a]
command = "x"
args = ["1"]
[mcp_servers."b c".env]
"K.x" = "v"
[[list]]
[[list]]
x = 1
[list.y]
z = 2
[empty]
"""


def test_a_file_comes_back_in_its_usual_form() -> None:
    table = tomllib.loads(TEXT)
    assert to_toml(table) == (
        'model = "m"\n'
        '\n[mcp_servers.a]\ncommand = "x"\nargs = ["1"]\n'
        '\n[mcp_servers."b c".env]\n"K.x" = "v"\n'
        "\n[[list]]\n"
        "\n[[list]]\nx = 1\n"
        "\n[list.y]\nz = 2\n"
        "\n[empty]\n"
    )
    assert to_toml({}) == ""


CHARACTERS = st.characters(codec="utf-8")
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(CHARACTERS),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(datetime.timezone(datetime.timedelta(hours=-7)))),
    st.times(),
)
KEYS = st.text(CHARACTERS, max_size=5)
VALUES = st.recursive(
    SCALARS, lambda more: st.lists(more, max_size=3) | st.dictionaries(KEYS, more, max_size=3)
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_every_table_is_read_back_the_same(table: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(table)) == table


def test_the_numbers_that_equal_nothing() -> None:
    assert math.isnan(tomllib.loads(to_toml({"x": math.nan}))["x"])


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        ([["a"]], {"a": 1}),
        ([["t", "z"]], {"t": {"z": 2}}),
        ([["t"], ["t", "z"]], {"t": {"y": 1, "z": 2, "u": {"v": 3}}}),
        ([["t", "z"], ["t", "u", "v"]], {"t": {"z": 2, "u": {"v": 3}}}),
        ([["a", "further"]], {"a": 1}),
        ([["absent"]], {}),
        ([["t", "absent"]], {}),
        ([[""]], {}),
        ([], {}),
    ],
)
def test_the_asked_keys(paths: list[list[str]], chosen: dict[str, Any]) -> None:
    table = {"a": 1, "t": {"y": 1, "z": 2, "u": {"v": 3}}, "b": 2}
    assert select(table, paths) == chosen
