"""The compiled core: processes, logs, channels."""

from execnode.engine._pty import Channel, Engine, Process, SpawnError

__all__ = ["Channel", "Engine", "Process", "SpawnError"]
