"""The environment that is this machine: the local services, without a wire between."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from execnode.client.files import Files
from execnode.environment.local.exec import ExecSettings, LocalExec
from execnode.environment.local.filecalls import LocalFileCalls
from execnode.environment.local.files.service import LocalFiles
from execnode.environment.local.http import LocalHttp
from execnode.environment.local.info import environment_info, user_shell
from execnode.environment.local.requests import LocalRequests
from execnode.environment.local.runner import LocalRunner
from execnode.environment.services import Environment

__all__ = ["local"]

# The program that uses it may have children of its own: none of them is adopted.
_SETTINGS = ExecSettings(adopt=False)


@asynccontextmanager
async def local(settings: ExecSettings | None = None) -> AsyncIterator[Environment]:
    """See `Environment.local`."""
    info = environment_info()
    shell = user_shell().encode()
    failure: BaseException | None = None
    async with (
        LocalExec.open(settings or _SETTINGS) as execs,
        LocalFiles.open() as files,
        LocalHttp() as http,
    ):
        calls = LocalFileCalls(files, info)
        try:
            yield Environment(info, LocalRunner(execs, shell), Files(calls), LocalRequests(http))
        except (Exception, KeyboardInterrupt, SystemExit) as exc:
            failure = exc  # as it is: the services' task groups would wrap it
        finally:
            calls.close()
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # or the traceback would keep itself alive
