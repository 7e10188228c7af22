"""What a client of the plain dialect is not told."""

import msgspec

from execnode.protocol import files as f
from execnode.protocol import messages as m
from execnode.protocol import processes as p
from execnode.protocol import sandbox
from execnode.protocol.additions import without_additions
from execnode.protocol.capabilities import DiscoveredRoot, DiscoverRootsResponse


def test_members_that_are_ours_are_left_out() -> None:
    chunk = p.OutputChunk(1, "stdout", b"x", 7)
    read = p.ReadResponse(
        [chunk], 2, True, 9, True, None, False, p.Gap(1, 2, {"stdout": 3}), "killed", "SIGKILL"
    )
    plain = without_additions(m.Answer(1, read))
    assert plain == m.Answer(
        1, p.ReadResponse([p.OutputChunk(1, "stdout", b"x")], 2, True, 9, True, None, False)
    )
    started = m.Answer("a", p.StartResponse("p", "none", 5, "ref", 4096))
    assert without_additions(started) == m.Answer("a", p.StartResponse("p", "none"))


def test_nothing_is_told_of_a_sandbox() -> None:
    report = sandbox.SandboxReport("landlock", ["namespaces"])
    for told, plain in (
        (f.FileResponse(sandbox=report), f.FileResponse()),
        (f.CanonicalizeResponse("/x", sandbox=report), f.CanonicalizeResponse("/x")),
        (f.OpenResponse("h", 5, sandbox=report), f.OpenResponse("h")),
    ):
        assert without_additions(m.Answer(1, told)) == m.Answer(1, plain)
    found = DiscoveredRoot("r", "file:///", None, [], [], [], None)
    inside = msgspec.structs.replace(found, sandbox=report)
    assert without_additions(m.Answer(1, DiscoverRootsResponse([inside, found]))) == m.Answer(
        1, DiscoverRootsResponse([found, found])
    )


def test_what_an_error_adds_is_left_out() -> None:
    error = m.ErrorAnswer(1, m.ErrorBody(-32603, "no", {"stage": "execve"}))
    assert without_additions(error) == m.ErrorAnswer(1, m.ErrorBody(-32603, "no"))


def test_notifications_are_those_of_the_dialect() -> None:
    exited = p.ExitedNotification("p", 3, 137, False, "signal", "SIGKILL")
    closed = p.ClosedNotification("p", 4, {"stdout": p.StreamTotal(1, "crc32c:00000000")})
    assert without_additions(m.Notification("process/exited", exited)) == m.Notification(
        "process/exited", p.ExitedNotification("p", 3, 137, False)
    )
    assert without_additions(m.Notification("process/closed", closed)) == m.Notification(
        "process/closed", p.ClosedNotification("p", 4)
    )


def test_all_else_stays_as_it_is() -> None:
    answer = m.Answer(1, p.WriteResponse("accepted"))
    assert without_additions(answer) == answer
