"""TLS over a transport, for `wss:` URLs."""

import ssl
from contextlib import suppress
from os import PathLike

import anyio
from anyio import CancelScope

from .transport import Transport

__all__ = ["TlsTransport", "trust"]

_READ_BYTES = 256 * 1024


def trust(ca_file: str | PathLike[str] | None) -> ssl.SSLContext:
    """Whom a client trusts: the system's authorities, and those of a PEM file.

    Raises OSError for a file that cannot be read or has no certificates.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


class TlsTransport(Transport):
    """The client's end of TLS over a connected transport, whose socket it takes over.

    `open` makes one. Encrypted bytes have to leave in the order in which they were made, so a send
    that has encrypted something is not cancelled any more.
    """

    def __init__(self, plain: Transport, context: ssl.SSLContext, host: str) -> None:
        super().__init__(plain.detach())
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._flushing = anyio.Lock(fast_acquire=True)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    @classmethod
    async def open(cls, plain: Transport, context: ssl.SSLContext, host: str) -> "TlsTransport":
        """Shake hands with `host`. Raises ssl.SSLError (an OSError), also for a false name."""
        transport = cls(plain, context, host)
        try:
            while True:
                try:
                    transport._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await transport._flush()
                    await transport._fill()
            await transport._flush()
        except BaseException:
            with suppress(OSError):  # why the handshake failed, for the peer
                transport._send_some(transport._outgoing.read())
            transport.close()
            raise
        return transport

    async def receive(self) -> bytes:
        """The next bytes; b"" when the peer ended the stream, with or without saying so."""
        while True:
            try:
                data = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()  # the answer to a change of keys
                await self._fill()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""
            else:
                return data

    async def send(self, data: bytes | bytearray) -> None:
        """As `Transport.send`."""
        await self._room()
        with CancelScope(shield=True):
            self._tls.write(data)
            await self._flush()

    async def _fill(self) -> None:
        data = await super().receive()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        """Send what has been encrypted."""
        if not self._outgoing.pending:
            return
        with CancelScope(shield=True):
            async with self._flushing:
                while data := self._outgoing.read():
                    await super().send(data)
