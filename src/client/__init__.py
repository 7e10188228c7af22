"""The client of a node, for asyncio and trio alike (`connect`), and without async (`blocking`)."""

from execnode.protocol.messages import Retention

from .channel import Gap, Output, Total
from .completed import Completed
from .errors import (
    AnswerLost,
    CalledProcessError,
    IntegrityError,
    LinkLost,
    ProcessLost,
    ProtocolError,
    RpcError,
    SessionLost,
    StartError,
    TimeoutExpired,
    Unsupported,
    UpgradeRefused,
)
from .node import Node, ProcessInfo, connect
from .process import Process

__all__ = [
    "AnswerLost",
    "CalledProcessError",
    "Completed",
    "Gap",
    "IntegrityError",
    "LinkLost",
    "Node",
    "Output",
    "Process",
    "ProcessInfo",
    "ProcessLost",
    "ProtocolError",
    "Retention",
    "RpcError",
    "SessionLost",
    "StartError",
    "TimeoutExpired",
    "Total",
    "Unsupported",
    "UpgradeRefused",
    "connect",
]
