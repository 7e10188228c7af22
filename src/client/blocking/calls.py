"""How something async is had without: each of its methods, called in the event loop's thread.

A facade holds the async object whose names and meanings it has. Its methods are made of that one's
(`blocking`, `giving`, `context`), so that what they take, give and mean is said there alone.
"""

import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from anyio.abc import AsyncResource
from anyio.from_thread import BlockingPortal

__all__ = ["Caller", "Closing", "Facade", "Iterating", "blocking", "context", "giving"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_A = TypeVar("_A")
_SourceT = TypeVar("_SourceT", bound=AsyncIterable[Any])
_ResourceT = TypeVar("_ResourceT", bound=AsyncResource)
_END: Any = object()


class Caller:
    """Calls async functions in the event loop's thread."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def __call__(
        self, function: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """The function's result, when it is there."""
        over = threading.Event()

        async def call() -> _T:
            try:
                return await function(*args, **kwargs)
            finally:
                over.set()

        future = self._portal.start_task_soon(call)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C: the call has to end its program before the caller goes on. A call that raised
            # by itself is over already.
            future.cancel()
            over.wait()
            raise

    def context(self, manager: AbstractAsyncContextManager[_T]) -> AbstractContextManager[_T]:
        """An async context for a `with`."""
        return self._portal.wrap_async_context_manager(manager)


class Facade(Generic[_T]):
    """An async object, `_of`, for a program without async."""

    def __init__(self, of: _T, call: Caller) -> None:
        self._of = of
        self._call = call

    def __repr__(self) -> str:
        return repr(self._of)


def blocking(
    method: Callable[Concatenate[Any, _P], Awaitable[_T]],
) -> Callable[Concatenate[Any, _P], _T]:
    """A facade's method that returns when this one of `_of` is done."""
    return giving(method, lambda result, _: result)


def giving(
    method: Callable[Concatenate[Any, _P], Awaitable[_A]], facade: Callable[[_A, Caller], _T]
) -> Callable[Concatenate[Any, _P], _T]:
    """As `blocking`, of a method whose result gets a facade of its own."""
    name = method.__name__

    @wraps(method)
    def call(self: Facade[Any], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return facade(self._call(getattr(self._of, name), *args, **kwargs), self._call)

    return call


def context(
    method: Callable[Concatenate[Any, _P], AbstractAsyncContextManager[_A]],
    facade: Callable[[_A, Caller], _T],
) -> Callable[Concatenate[Any, _P], AbstractContextManager[_T]]:
    """A facade's method for a `with`, of one for an `async with`."""
    name = method.__name__

    @wraps(method)
    @contextmanager
    def call(self: Facade[Any], /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_T]:
        with self._call.context(getattr(self._of, name)(*args, **kwargs)) as given:
            yield facade(given, self._call)

    return call


class Iterating(Facade[_SourceT], Iterator[_T], Generic[_SourceT, _T]):
    """A facade of something to iterate over."""

    def __init__(self, of: _SourceT, call: Caller) -> None:
        super().__init__(of, call)
        self._items: AsyncIterator[_T] = aiter(of)

    def __next__(self) -> _T:
        item = self._call(anext, self._items, _END)
        if item is _END:
            raise StopIteration
        return item


class Closing(Facade[_ResourceT]):
    """A facade of something that is closed when it is left."""

    def close(self) -> None:
        """Close it."""
        self._call(self._of.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call(self._of.__aexit__, exc_type, exc, traceback)
