"""docs/operating.md: its examples run, and its tables are whole."""

import re
import shlex
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tests.docs.markdown import blocks, tables
from tests.docs.serving import serving
from tests.locate import ROOT

DOCUMENT = ROOT / "docs" / "operating.md"
URL = "ws://127.0.0.1:7078"


def get(url: str, path: str, token: str = "") -> tuple[int, str]:
    """The status and text of a page of a node."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    link = HTTPConnection(parts.hostname, parts.port, timeout=10)
    link.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = link.getresponse()
    return answer.status, answer.read().decode()


def test_the_signed_token_of_the_example_is_let_in(tmp_path: Path) -> None:
    """The example's own commands make the secret, the node and the token."""
    [example] = [each.text for each in blocks(DOCUMENT, "sh") if "openssl" in each.text]
    secret, serve = example.replace("\\\n", "").splitlines()
    subprocess.run(["sh", "-c", secret], cwd=tmp_path, check=True)
    _, _, *options = shlex.split(serve.replace(URL, "ws://127.0.0.1:0"))
    [program] = blocks(DOCUMENT, "python")
    made = subprocess.run(
        [sys.executable, "-c", program.text], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.stderr == ""
    with serving(tmp_path, *options) as url:
        assert get(url, "/metrics", made.stdout.strip())[0] == 200
        assert get(url, "/metrics", made.stdout.strip()[:-2])[0] == 401
        assert get(url, "/metrics")[0] == 401
        assert get(url, "/readyz")[0] == 200


def test_the_metrics_are_those_of_the_node(tmp_path: Path) -> None:
    [metrics] = [each for each in tables(DOCUMENT) if each.columns[0] == "metric"]
    with serving(tmp_path, "--listen", "ws://127.0.0.1:0", "--auth", "none") as url:
        status, text = get(url, "/metrics")
    assert status == 200
    told = re.findall(r"^# TYPE (execnode_\w+)", text, re.MULTILINE)
    assert [row[0] for row in metrics.rows] == told
    documented = {row[0]: _labels(row[1]) for row in metrics.rows}
    for name, inside in re.findall(r"^(execnode_\w+)\{(.*)\} ", text, re.MULTILINE):
        assert set(re.findall(r'(\w+)="', inside)) == documented[name]


def _labels(cell: str) -> set[str]:
    """`method, outcome: ok or the code of the error` names two labels; values follow a colon."""
    names, _, _ = cell.partition(":")
    return {name.strip() for name in names.split(",")} - {""}
