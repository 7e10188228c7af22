"""execnode: a Linux machine as a process-execution node.

`connect` reaches a node with async calls (asyncio or trio); `run` is like `subprocess.run`, on a
node or on this machine; an `Environment` is either, with the same services. All are loaded on first
use, so `import execnode` alone costs next to nothing.
"""

if __name__ != "execnode":
    raise ImportError(f"import execnode, not {__name__} (the checkout's root is on sys.path)")

__version__ = "0.1.0"

__all__ = [
    "Completed",
    "Environment",
    "Node",
    "Process",
    "Sandbox",
    "__version__",
    "connect",
    "run",
]

TYPE_CHECKING = False  # type checkers know the name; importing typing would take longer than us
if TYPE_CHECKING:
    from execnode.client import Completed, Node, Process, connect
    from execnode.embedded import run
    from execnode.environment.services import Environment
    from execnode.protocol.presets import Sandbox
else:

    def __getattr__(name: str) -> object:
        """Load a public name from its home module (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        homes = {
            "run": "execnode.embedded",
            "Environment": "execnode.environment.services",
            "Sandbox": "execnode.protocol.presets",
        }
        home = import_module(homes.get(name, "execnode.client"))
        globals()[name] = getattr(home, name)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
