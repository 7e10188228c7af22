"""Reaching a node for a verb."""

import socket
import ssl
import threading
from socket import gaierror

import pytest
import trio

from execnode.cli.failure import Failure
from execnode.cli.reach import Target
from execnode.cli.unreached import unreached
from execnode.client.errors import LinkLost, ProtocolError, Unsupported, UpgradeRefused
from tests.cli.programs import RunningNode, execnode


def certificate_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, message)
    error.verify_code, error.verify_message = code, message
    return error


def test_what_a_node_does_not_offer_is_a_failure_with_its_name(node: RunningNode) -> None:
    async def use() -> None:
        async with Target(node.url, None).connected():
            raise Unsupported("process/list", "processList")

    with pytest.raises(Failure, match=r"this node has no process/list \(capability processList\)"):
        trio.run(use)


@pytest.mark.parametrize(
    ("url", "error", "code", "message", "hint"),
    [
        (
            "wss://there:1",
            certificate_error(18, "self-signed certificate"),
            125,
            "no node at wss://there:1: its certificate is refused: self-signed certificate",
            "SSL_CERT_FILE",
        ),
        (
            "wss://there:1",
            certificate_error(62, "Hostname mismatch, certificate is not valid for 'there'."),
            125,
            "certificate is not valid for 'there'",
            "its name has to be one that the certificate is for",
        ),
        (
            "wss://there:1",  # OpenSSL's numbers are not the system's: 8 is ENOEXEC
            ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
            125,
            "no node at wss://there:1: TLS failed: ",
            "a node's URL is",
        ),
        ("tcp://there:1", TimeoutError(), 125, "no answer in time", "a node's URL is"),
        ("tcp://there:1", LinkLost("[Errno 104] Gone"), 125, "tcp://there:1: Gone", "a node's URL"),
        ("tcp://there:1", gaierror(-2, "No such name"), 125, "tcp://there:1: No such name", None),
        ("tcp://there:99999", ValueError("Port"), 2, "tcp://there:99999: Port", None),
        ("ws://there:1", UpgradeRefused("401 no", 401), 125, "401 no", "--token-file"),
        ("stdio:cat", ProtocolError("a frame"), 125, "stdio:cat: a frame", "--encoding cbor"),
        ("stdio:sleep", TimeoutError(), 125, "no answer in time", "--encoding cbor"),
        ("stdio:nosuch", FileNotFoundError(2, "No", "nosuch"), 125, "No such file", None),
    ],
)
def test_why_there_is_no_node_is_told_with_what_to_do_next(
    url: str, error: Exception, code: int, message: str, hint: str | None
) -> None:
    failure = unreached(url, None, error, 125)
    assert failure.code == code
    assert message in failure.message
    assert (failure.hint is None) == (hint is None)
    assert hint is None or hint in (failure.hint or "")


def test_a_server_without_tls_is_no_usage_error_and_no_system_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        done = execnode("run", "--node", f"wss://127.0.0.1:{port}", "true")
        answering.join()
    error, hint = done.stderr.decode().splitlines()
    assert (done.returncode, hint.startswith("hint: ")) == (125, True)
    assert error.startswith(f"error: no node at wss://127.0.0.1:{port}: TLS failed: ")
