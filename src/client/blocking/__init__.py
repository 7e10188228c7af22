"""The client for programs without async: the same names, calls that return when it is done.

A thread runs the event loop, from `connect` until its context is left; the caller does not meet it.
Signal handlers and event-loop policies are left alone. Calls may come from several threads, but
only one at a time may iterate over a process, a watch or a body.
"""

from .files import File, Files, MissingWatch, Watch
from .http import Http, HttpStream
from .node import Connector, Node, Target, connect, run
from .process import Process

__all__ = [
    "Connector",
    "File",
    "Files",
    "Http",
    "HttpStream",
    "MissingWatch",
    "Node",
    "Process",
    "Target",
    "Watch",
    "connect",
    "run",
]
