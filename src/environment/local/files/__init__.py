"""The files service on this machine.

Theory of operation. What blocks runs in threads (worker.py), as plain functions of plain arguments
in modules that know no event loop: whole.py, names.py, walk.py, remove.py, copy.py, tar.py. Every
path passes through `LocalFiles._at` on its way there, where the request's sandbox is looked at; a
sandboxed process that runs the same functions can take its place. Paths become descriptors in
paths.py. What belongs to one client, its open handles and watches, is a `FileSession`.
"""

from execnode.environment.local.files.service import FileSettings, LocalFiles
from execnode.environment.local.files.session import FileSession

__all__ = ["FileSession", "FileSettings", "LocalFiles"]
