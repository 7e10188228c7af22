"""What a client of the plain dialect is not told."""

from execnode.protocol import messages as m
from execnode.protocol.additions import without_additions


def test_members_that_are_ours_are_left_out() -> None:
    chunk = m.OutputChunk(1, "stdout", b"x", 7)
    read = m.ReadResponse(
        [chunk], 2, True, 9, True, None, False, m.Gap(1, 2, {"stdout": 3}), "killed", "SIGKILL"
    )
    plain = without_additions(m.Answer(1, read))
    assert plain == m.Answer(
        1, m.ReadResponse([m.OutputChunk(1, "stdout", b"x")], 2, True, 9, True, None, False)
    )
    started = m.Answer("a", m.StartResponse("p", "none", 5, "ref", 4096))
    assert without_additions(started) == m.Answer("a", m.StartResponse("p", "none"))


def test_what_an_error_adds_is_left_out() -> None:
    error = m.ErrorAnswer(1, m.ErrorBody(-32603, "no", {"stage": "execve"}))
    assert without_additions(error) == m.ErrorAnswer(1, m.ErrorBody(-32603, "no"))


def test_notifications_are_those_of_the_dialect() -> None:
    exited = m.ExitedNotification("p", 3, 137, False, "signal", "SIGKILL")
    closed = m.ClosedNotification("p", 4, {"stdout": m.StreamTotal(1, "crc32c:00000000")})
    assert without_additions(m.Notification("process/exited", exited)) == m.Notification(
        "process/exited", m.ExitedNotification("p", 3, 137, False)
    )
    assert without_additions(m.Notification("process/closed", closed)) == m.Notification(
        "process/closed", m.ClosedNotification("p", 4)
    )


def test_all_else_stays_as_it_is() -> None:
    answer = m.Answer(1, m.WriteResponse("accepted"))
    assert without_additions(answer) == answer
