"""A folder for sandboxes to work in."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder that is not in /tmp, which profiles treat in their own way.

    A sandbox that still lives may be removing what kept names in it missing, at the same time.
    """
    folder = Path(mkdtemp(prefix="xs-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    assert not folder.exists()
