"""The exec service as its user has it: programs of this machine, started and run."""

import itertools
import os
from collections.abc import Sequence
from typing import Unpack

from execnode.client.errors import start_error
from execnode.client.options import Argument, StartOptions
from execnode.client.running import Runner
from execnode.client.starting import start_params
from execnode.environment.local.exec import LocalExec
from execnode.environment.local.handle import LocalHandle
from execnode.protocol.errors import RpcError

__all__ = ["LocalRunner"]


class LocalRunner(Runner[LocalHandle]):
    """What environment/services.py calls Exec."""

    def __init__(self, execs: LocalExec, shell: bytes) -> None:
        self._execs = execs
        self._shell = shell
        self._ids = map(str, itertools.count(1))

    @property
    def cwd(self) -> str:
        """The working folder of this program. Raises FileNotFoundError when it was removed."""
        return os.getcwd()  # noqa: PTH109

    async def start(
        self,
        argv: Sequence[Argument],
        *,
        inherit: Sequence[int] = (),
        **options: Unpack[StartOptions],
    ) -> LocalHandle:
        """Start a program; see `execnode.Node.start`.

        inherit: descriptors, at most 64, that become 3, 4, ... in the program, as those that
            sd_listen_fds(3) finds; they stay open here. Only where there is no wire between.
        """
        arguments = [os.fspath(argument) for argument in argv]
        folder = self.cwd if (given := options.get("cwd")) is None else os.fsdecode(given)
        params = start_params(next(self._ids), arguments, folder, **options)
        try:
            process = await self._execs.start_confined(params, self._shell, inherit=inherit)
        except RpcError as exc:
            error = start_error(exc, os.fsdecode(arguments[0]), folder)
            if error is None:
                raise
            raise error from None
        return LocalHandle(self._execs, process, params.process_id, arguments)
