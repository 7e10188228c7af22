import errno

from execnode.protocol import errors, methods


def test_sentences_are_those_that_clients_of_the_dialect_know() -> None:
    family = methods.family(methods.PROCESS_READ)
    table = [
        (
            errors.initialize_required(family),
            -32600,
            "client must call initialize before using exec methods",
        ),
        (
            errors.initialized_required(methods.family(methods.ENVIRONMENT_STATUS)),
            -32600,
            "client must send initialized before using environment status methods",
        ),
        (
            errors.initialize_only_once(),
            -32600,
            "initialize may only be sent once per connection",
        ),
        (
            errors.session_attached("S"),
            -32010,
            "session S is already attached to another connection",
        ),
        (errors.unknown_session(""), -32600, "unknown session id "),
        (
            errors.method_not_found("no/such/method"),
            -32601,
            "exec-server stub does not implement `no/such/method` yet",
        ),
        (errors.unknown_process("P"), -32600, "unknown process id P"),
        (errors.process_exists("p"), -32600, "process p already exists"),
        (errors.process_starting("p"), -32600, "process id p is starting"),
        (errors.start_cancelled("p"), -32600, "process p start was cancelled"),
        (errors.missing_program(), -32603, "missing program for pipe spawn"),
        (errors.nul_byte(), -32603, "nul byte found in provided data"),
        (errors.stdin_write_failed(), -32603, "failed to write to process stdin"),
        (errors.system_error(errno.ENOENT), -32603, "No such file or directory (os error 2)"),
    ]
    for error, code, message in table:
        assert (error.code, error.message, error.data) == (code, message, None)


def test_a_malformed_message_is_answered_with_its_remark() -> None:
    cause = errors.MalformedMessageError("expected a JSON-RPC object")
    assert errors.malformed(cause, "stdio").message == (
        "failed to parse JSON-RPC message from exec-server stdio: expected a JSON-RPC object"
    )
    assert errors.malformed(cause, "websocket 127.0.0.1:9").message == (
        "failed to parse websocket JSON-RPC message from exec-server websocket 127.0.0.1:9: "
        "expected a JSON-RPC object"
    )


def test_a_failed_start_says_what_failed() -> None:
    error = errors.spawn_failed("chdir", errno.EACCES)
    assert (error.code, error.message) == (-32603, "Permission denied (os error 13)")
    assert error.data == {"stage": "chdir", "errno": 13, "name": "EACCES"}
    assert errors.spawn_failed("execve", 9999).data == {
        "stage": "execve",
        "errno": 9999,
        "name": "9999",
    }


def test_an_error_survives_the_wire_types() -> None:
    error = errors.RpcError(-32600, "x", {"a": 1})
    answer = error.to_answer(7)
    again = errors.RpcError.from_body(answer.error)
    assert answer.id == 7
    assert (again.code, again.message, again.data) == (error.code, error.message, error.data)
    assert str(again) == "x"
    assert repr(again) == "RpcError(-32600, 'x', {'a': 1})"
