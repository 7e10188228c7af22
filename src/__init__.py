"""execnode: a Linux machine as a process-execution node.

`connect` reaches a node with async calls (asyncio or trio), `run` is like `subprocess.run`. Both
are loaded on first use, so `import execnode` alone costs next to nothing.
"""

from importlib import import_module

if __name__ != "execnode":
    raise ImportError(f"import execnode, not {__name__} (the checkout's root is on sys.path)")

__version__ = "0.1.0"

_HOMES = {
    "connect": "execnode.client",
    "Completed": "execnode.client",
    "Node": "execnode.client",
    "Process": "execnode.client",
    "run": "execnode.embedded",
}


def __getattr__(name: str) -> object:
    """Load a public name from its home module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
