"""The compiled core: processes, logs, channels, sandboxes."""

from execnode.engine._pty import PROTECTIONS, Blob, Channel, Engine, Process, Sandbox, SpawnError

__all__ = ["PROTECTIONS", "Blob", "Channel", "Engine", "Process", "Sandbox", "SpawnError"]
