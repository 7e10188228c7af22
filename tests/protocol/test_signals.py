import pytest

from execnode.protocol.errors import INVALID_PARAMS, RpcError
from execnode.protocol.signals import signal_number


@pytest.mark.parametrize(
    ("name", "number"),
    [("interrupt", 2), ("INT", 2), ("SIGINT", 2), ("TERM", 15), ("SIGKILL", 9), ("WINCH", 28)],
)
def test_names_of_signals(name: str, number: int) -> None:
    assert signal_number(name) == number


@pytest.mark.parametrize("name", ["", "kill", "term", "9", "SIG", "SIGSIGTERM", "SIG_DFL", "\0"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(RpcError, match="unknown variant") as caught:
        signal_number(name)
    assert caught.value.code == INVALID_PARAMS
