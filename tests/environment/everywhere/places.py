"""Where an environment may be: here, or behind a node, over every transport and encoding."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

from execnode.environment.services import Environment
from tests.client.conftest import running_nodes
from tests.locate import SHELL_WORDS

LISTENED = {
    "unix-cbor": ("unix", "cbor"),
    "tcp-cbor": ("tcp", "cbor"),
    "ws-json": ("ws", "json"),
    "ws-cbor": ("ws", "cbor"),
}
STDIO = {"stdio-json": "json", "stdio-cbor": "cbor"}
PLACES = ["local", *LISTENED, *STDIO]

Open = Callable[[], AbstractAsyncContextManager[Environment]]


@contextmanager
def places() -> Iterator[Callable[[str], Open]]:
    """A node that listens everywhere; gives the way to open each of PLACES."""
    folder = Path(tempfile.mkdtemp(prefix="xn-"))
    schemes = sorted({scheme for scheme, _ in LISTENED.values()})
    listens = {"unix": f"unix://{folder}/node.sock"}
    options = []
    for scheme in schemes:
        options += ["--listen", listens.get(scheme, f"{scheme}://127.0.0.1:0")]
    try:
        with running_nodes(len(schemes), *options, "--auth", "none") as urls:
            by_scheme = dict(zip(schemes, urls, strict=True))

            def place(name: str) -> Open:
                if name == "local":
                    return Environment.local
                if name in STDIO:
                    url = f"stdio:{SHELL_WORDS} serve --listen stdio --encoding {STDIO[name]}"
                    return lambda: Environment.connect(url, encoding=STDIO[name])
                scheme, encoding = LISTENED[name]
                return lambda: Environment.connect(by_scheme[scheme], encoding=encoding)

            yield place
    finally:
        shutil.rmtree(folder, ignore_errors=True)
