"""The client of a node, for asyncio and trio alike (`connect`), and without async (`blocking`)."""

from execnode.protocol.presets import Sandbox
from execnode.protocol.processes import EnvironmentPolicy, Limits, Retention
from execnode.protocol.sandbox import SandboxContext, SandboxDenial, SandboxReport

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
from .file import Digest, RemoteFile
from .files import DirEntry, Files, Stat, Walk
from .http import Http, HttpReply, HttpStream
from .node import Node, ProcessInfo, connect
from .process import Process
from .transfer import Transfer
from .watch import Change, Changes

__all__ = [
    "AnswerLost",
    "CalledProcessError",
    "Change",
    "Changes",
    "Completed",
    "Digest",
    "DirEntry",
    "EnvironmentPolicy",
    "Files",
    "Gap",
    "Http",
    "HttpReply",
    "HttpStream",
    "IntegrityError",
    "Limits",
    "LinkLost",
    "Node",
    "Output",
    "Process",
    "ProcessInfo",
    "ProcessLost",
    "ProtocolError",
    "RemoteFile",
    "Retention",
    "RpcError",
    "Sandbox",
    "SandboxContext",
    "SandboxDenial",
    "SandboxReport",
    "SessionLost",
    "StartError",
    "Stat",
    "TimeoutExpired",
    "Total",
    "Transfer",
    "Unsupported",
    "UpgradeRefused",
    "Walk",
    "connect",
]
