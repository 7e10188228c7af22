"""Why there is no node to talk to, in words: what failed, the cause, what to do next."""

import errno
import os
import re
import ssl
from http import HTTPStatus

from execnode.client.errors import RpcError, UpgradeRefused

from .failure import USAGE, Failure

__all__ = ["unreached"]

_GIVE_TOKEN = "give its token with --token-file"
_WHICH_URL = "a node's URL is what `execnode serve` prints there"
# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH, X509_STORE_CTX_get_error(3).
_OTHER_NAME = (62, 64)
_WHICH_PROGRAM = "it has to speak CBOR, as: execnode serve --listen stdio --encoding cbor"


def unreached(url: str | None, token_file: str | None, error: Exception, code: int) -> Failure:
    """What to say when connecting to the node at `url` has failed; `code` is the exit code."""
    if isinstance(error, ValueError) and not isinstance(error, OSError):  # a TLS error is both
        said = str(error)
        return Failure(said if url is None or url in said else f"{url}: {said}", code=USAGE)
    if isinstance(error, RpcError):
        hint = _GIVE_TOKEN if "authToken" in error.message else None
        return Failure(f"{url}: {error.message}", hint, code)
    if token_file and isinstance(error, OSError) and error.filename == token_file:
        return Failure(f"--token-file {token_file}: {error.strerror}", code=code)
    return Failure(f"no node at {url}: {_cause(error)}", _hint(url or "", error), code)


def _cause(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is refused: {error.verify_message.rstrip('.')}"
        case ssl.SSLError():  # its errno is of OpenSSL, not of the system
            return f"TLS failed: {_reason(error)}"
        case OSError(errno=int(number)) if number in errno.errorcode:
            return os.strerror(number)
        case OSError(strerror=str(sentence)):  # getaddrinfo(3)
            return sentence
        case TimeoutError():
            return "no answer in time"
    return re.sub(r"^\[Errno \d+\] ", "", str(error)) or type(error).__name__


def _reason(error: ssl.SSLError) -> str:
    reason: str | None = getattr(error, "reason", None)  # only OpenSSL's own have one
    return reason.replace("_", " ").lower() if reason else str(error.strerror)


def _hint(url: str, error: Exception) -> str | None:
    if url.startswith("stdio:"):
        return None if isinstance(error, OSError) and error.filename else _WHICH_PROGRAM
    match error:
        case FileNotFoundError() | ConnectionRefusedError():
            return f"is it running? to start it: execnode serve --listen {url}"
        case PermissionError():
            return "the socket is for the user who started the node"
        case UpgradeRefused(status=HTTPStatus.UNAUTHORIZED):
            return _GIVE_TOKEN
        case ssl.SSLCertVerificationError(verify_code=code) if code in _OTHER_NAME:
            return "its name has to be one that the certificate is for"
        case ssl.SSLCertVerificationError():
            return "to trust its authority: export SSL_CERT_FILE=FILE, with certificates as PEM"
        case OSError(errno=int()) if not isinstance(error, ssl.SSLError):
            return None
    return _WHICH_URL
