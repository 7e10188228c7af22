"""What `execnode sandbox` does: it makes words for the helper, and becomes the helper.

The options of execnode-linux-sandbox are read by execnode-linux-sandbox alone; it gets the words
as they are. Only a profile is read here: it becomes a plan, and the plan such options.
"""

import json
import os
from typing import Any, Final

import msgspec

from execnode.engine.programs import HELPER
from execnode.policy.plan import Plan, Rule
from execnode.policy.profile import plan_for
from execnode.policy.sandbox import start_request
from execnode.protocol.codec import JsonCodec
from execnode.protocol.errors import RpcError
from execnode.protocol.sandbox import SandboxContext
from execnode.protocol.uri import format_path_uri

from .failure import NOT_RUN, USAGE, Failure
from .tell import put

__all__ = ["sandbox"]

_NAME: Final = b"execnode-linux-sandbox"
_NAMED: Final = {
    "read-only": {"type": "read-only"},
    "workspace-write": {"type": "workspace-write"},
    "full-access": {"type": "danger-full-access"},
}
# What a profile says already; beside one of JSON they would be a second opinion.
_SAYING: Final = (
    *("read", "write", "read_only", "deny", "missing", "literal", "minimal", "network"),
    *("connect_port", "bind_port"),
)
# What goes on to the helper beside the plan.
_BESIDE: Final = ("arg0", "accept_missing", "pass_fd", "status_fd")


def sandbox(words: tuple[str, ...], options: dict[str, Any]) -> int:
    """Become the helper, or print what it would be told.

    words: the command line as it was typed. options: the same, parsed.

    Raises Failure.
    """
    said = [f"--{name.replace('_', '-')}" for name in _SAYING if options[name]]
    named = options["profile"] in _NAMED
    profile = _profile(options)
    if said and (options["explain"] or (profile is not None and not named)):
        raise _usage(f"{said[0]} has no place here: a profile says all", "put it into the profile")
    if not options["argv"] and not options["explain"]:
        raise _usage("there is no command", "it comes after --")
    if profile is None or said:
        if options["explain"]:
            raise _usage("there is no profile to explain", "give --profile or --profile-file")
        return _become([os.fsencode(word) for word in words])
    cwd = _cwd(options["cwd"])
    context = _context(profile, cwd, options["workspaces"])
    plan = _plan(context, os.fsencode(cwd))
    if options["explain"]:
        put(json.dumps(_told(plan), indent=2))
        return 0
    command = [os.fsencode(word) for word in options["argv"]]
    options["isolate"] |= context.isolate
    return _become([*_beside(options), *plan.helper_options(), b"--", *command])


def _cwd(given: str | None) -> str:
    """Where to start: an absolute path, which may have links. Raises Failure if it is no folder."""
    try:
        cwd = os.path.abspath(given or os.curdir)  # noqa: PTH100 (it may have links)
        os.stat(cwd + "/")  # noqa: PTH116
    except OSError as error:
        place = given or "the working folder"
        raise Failure(f"{place}: {error.strerror}", "name another with --cwd", NOT_RUN) from None
    return cwd


def _usage(message: str, hint: str) -> Failure:
    return Failure(message, hint, USAGE)


def _become(words: list[bytes]) -> int:
    try:
        os.execv(HELPER, [_NAME, *words])
    except OSError as error:
        raise Failure(f"{HELPER}: {error.strerror}", code=NOT_RUN) from None


def _beside(options: dict[str, Any]) -> list[bytes]:
    words = [b"--isolate"] if options["isolate"] else []
    for name in _BESIDE:
        value = options[name]
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        for each in values:
            words += [b"--" + name.replace("_", "-").encode(), os.fsencode(each)]
    return words


# --- the profile ----------------------------------------------------------------------------------


def _profile(options: dict[str, Any]) -> dict[str, Any] | None:
    """The profile that is given, None when there is none or the helper is to judge its name."""
    text, file = options["profile"], options["profile_file"]
    if text is not None and file is not None:
        raise _usage("--profile and --profile-file are two profiles", "give one of them")
    if text in _NAMED:
        return _NAMED[text]
    if file is None and (text is None or not text.lstrip().startswith("{")):
        return None
    try:
        raw = msgspec.json.decode(text if file is None else file.read())
    except msgspec.DecodeError as error:
        raise _usage(f"the profile is no JSON: {error}", "see docs/sandbox.md") from None
    if not isinstance(raw, dict):
        raise _usage("the profile is no JSON object", "see docs/sandbox.md")
    return raw


def _context(profile: dict[str, Any], cwd: str, workspaces: tuple[str, ...]) -> SandboxContext:
    """The sandbox object of a profile: what it does not say itself is said by the options."""
    raw = profile if "permissions" in profile else {"permissions": profile}
    roots = [os.path.abspath(root) for root in workspaces] or [cwd]  # noqa: PTH100
    context = {
        "windowsSandboxLevel": "disabled",
        "cwd": _uri(cwd),
        "workspaceRoots": [_uri(root) for root in roots],
    }
    try:
        return JsonCodec().decode_params(SandboxContext, {**context, **raw})
    except RpcError as error:
        raise _wrong(error) from None


def _plan(context: SandboxContext, cwd: bytes) -> Plan:
    """What it comes down to on this machine, in this folder and environment."""
    try:
        return plan_for(start_request(context, cwd, os.environb), cwd)
    except RpcError as error:
        raise _wrong(error) from None


def _wrong(error: RpcError) -> Failure:
    return _usage(f"the profile: {error.message}", "see docs/sandbox.md")


def _uri(path: str) -> str:
    return format_path_uri(os.fsencode(path))


# --- explaining -----------------------------------------------------------------------------------


def _told(plan: Plan) -> dict[str, Any]:
    """A plan for people and scripts. Bytes that are no text have backslashes."""
    ports = {"connectPorts": plan.network.connect, "bindPorts": plan.network.bind}
    return {
        "unrestricted": plan.unrestricted,
        "rules": [_rule(rule) for rule in plan.rules],
        "minimal": plan.minimal,
        "missing": [_text(path) for path in plan.missing],
        "network": "full" if plan.network.full else "none",
        **{name: list(numbers) for name, numbers in ports.items() if numbers},
        "cwd": _text(plan.cwd or b"/"),
        "options": [_text(word) for word in plan.helper_options()],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    told: dict[str, Any] = {"path": _text(rule.path), "access": rule.access.name.lower()}
    return {**told, "link": True} if rule.link else told


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")
