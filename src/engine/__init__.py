"""The compiled core: processes, logs, channels."""

from execnode.engine._pty import Blob, Channel, Engine, Process, Sandbox, SpawnError

__all__ = ["Blob", "Channel", "Engine", "Process", "Sandbox", "SpawnError"]
