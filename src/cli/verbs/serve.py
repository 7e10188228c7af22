"""`execnode serve`: run a node."""

from typing import Any

import click

from execnode.cli.options import Verb, protections, size, time

__all__ = ["command"]


@click.command(
    "serve",
    cls=Verb,
    examples=[
        ("for this user, on a private Unix socket", "execnode serve"),
        (
            "for others: clients need a copy of the token file",
            "execnode serve --listen tcp://0.0.0.0:7077 --token-file ~/node.token",
        ),
        (
            "for the Codex CLI on this machine, as CODEX_EXEC_SERVER_URL=ws://127.0.0.1:7078",
            "execnode serve --listen ws://127.0.0.1:7078 --auth none",
        ),
        (
            "through ssh, started by the client",
            "execnode run "
            "--node 'stdio:ssh HOST execnode serve --listen stdio --encoding cbor' -- uname -a",
        ),
    ],
)
@click.option(
    "--listen",
    "urls",
    metavar="URL",
    multiple=True,
    help="ws://HOST:PORT, wss://HOST:PORT, tcp://HOST:PORT (port 0: any), unix:///path.sock or "
    "stdio; may be repeated. "
    "Default: a Unix socket in $XDG_RUNTIME_DIR/execnode or ~/.local/state/execnode.",
)
@click.option(
    "--encoding",
    type=click.Choice(["json", "cbor"]),
    default="json",
    show_default=True,
    help="What stdio speaks: JSON, a line each, or length-prefixed CBOR.",
)
@click.option(
    "--auth",
    type=click.Choice(["token", "none"]),
    default="token",
    show_default=True,
    help="What ws and tcp clients have to show. none lets everybody run commands who can connect. "
    "Unix sockets are for this user and root, always.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="The token's file, made with a random token if there is none. "
    "Default: ~/.local/state/execnode/token.",
)
@click.option(
    "--ws-auth",
    type=click.Choice(["capability-token", "signed-bearer-token"]),
    help="What ws clients have to show instead, as bearer token: one fixed token "
    "(--ws-token-file or --ws-token-sha256), or a JWT signed with a secret that both know "
    "(--ws-shared-secret-file).",
)
@click.option("--ws-token-file", metavar="FILE", help="The token.")
@click.option("--ws-token-sha256", metavar="HEX", help="Its SHA-256, 64 hex digits.")
@click.option("--ws-shared-secret-file", metavar="FILE", help="The HS256 key, at least 32 bytes.")
@click.option("--ws-issuer", metavar="NAME", help="What a JWT has to have as `iss`.")
@click.option("--ws-audience", metavar="NAME", help="What it has to have as, or in, `aud`.")
@click.option(
    "--ws-max-clock-skew-seconds",
    type=click.IntRange(0),
    metavar="N",
    help="How far the clocks of its maker and this node may be apart. Default: 30.",
)
@click.option(
    "--allow-origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="A web page's origin, like https://example.org, that may open a WebSocket; "
    "requests with any other are refused. May be repeated.",
)
@click.option("--tls-cert", metavar="FILE", help="The certificate chain for wss, PEM.")
@click.option("--tls-key", metavar="FILE", help="Its private key, PEM, if not in the same file.")
@click.option(
    "--exit-on-stdin-close",
    is_flag=True,
    help="End when standard input does: with the program that started the node.",
)
@click.option(
    "--concurrent-requests",
    type=click.IntRange(1),
    metavar="N",
    help="Taken for the sake of scripts, and not needed: no request waits for one that waits.",
)
@click.option(
    "--session-ttl",
    type=time,
    default="80s",
    show_default=True,
    help="How long the processes of a client that is away are kept, unless it asks otherwise.",
)
@click.option(
    "--max-session-ttl",
    type=time,
    default="7d",
    show_default=True,
    help="The most that it may ask for.",
)
@click.option(
    "--keep-finished",
    type=time,
    default="80s",
    show_default=True,
    help="How long the output of a process that has ended is kept.",
)
@click.option(
    "--shutdown-grace",
    type=time,
    default="2s",
    show_default=True,
    help="At the end, how long processes have after SIGTERM before SIGKILL.",
)
@click.option("--keep-children", is_flag=True, help="At the end, leave processes alone.")
@click.option("--no-cgroups", is_flag=True, help="Do not use cgroups to end processes.")
@click.option(
    "--accept-missing",
    callback=protections,
    metavar="NAME",
    multiple=True,
    help="Run processes in sandboxes without this protection where the machine does not give it, "
    "instead of refusing them; every answer then names it. May be repeated. They are namespaces, "
    "private-proc, network-namespace, landlock, landlock-truncate, landlock-ports, landlock-ioctl "
    "and landlock-signals.",
)
@click.option(
    "--memory", type=size, default="1G", show_default=True, help="Output kept in memory, in all."
)
@click.option(
    "--spill", type=size, default="64G", show_default=True, help="Output kept on disk, in all."
)
@click.option(
    "--spill-dir",
    type=click.Path(exists=True, file_okay=False, writable=True, resolve_path=True),
    help="Where. Default: the folder for temporary files.",
)
@click.option(
    "--max-retention",
    type=size,
    default="4G",
    show_default=True,
    help="The most output that a client may have kept for one process.",
)
@click.option(
    "--max-frame",
    type=size,
    default="16M",
    show_default=True,
    help="The largest message taken.",
)
@click.option(
    "--max-sessions",
    type=click.IntRange(1),
    metavar="N",
    default=1024,
    show_default=True,
    help="Clients, those that are away included.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    metavar="N",
    default=1024,
    show_default=True,
    help="Clients that are connected.",
)
@click.option(
    "--max-processes",
    type=click.IntRange(1),
    metavar="N",
    default=1024,
    show_default=True,
    help="Running processes of one session.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    metavar="LEVEL",
    default="warning",
    show_default=True,
    help="What is logged to stderr: debug, info, warning or error.",
)
def command(urls: tuple[str, ...], **options: Any) -> None:
    """Run a node, until SIGTERM or Ctrl-C; a second one ends it at once.

    The URL of each bound socket is printed on a line of its own, in order, when clients can
    connect. Sizes are like 64K, 16M or 1G, times like 1.5, 90s, 5m, 2h or 7d.
    """
    from execnode.cli.serve import serve

    serve(urls, options)
