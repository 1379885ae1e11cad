"""Real threads for calls that block: gevent's hub must not wait for a disk (design 5)."""

import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_working: set[int] = set()
"""Native threads that do such work now: what they call in turn stays with them."""


def _original(module: str, name: str) -> Any:
    """What gevent replaced, if it did."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(sys.modules[module], name)


def is_cooperative() -> bool:
    """Whether threads are greenlets in this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def native_lock() -> threading.Lock:
    """A lock for native threads; never to be held by a greenlet that may wait for it."""
    lock: threading.Lock = _original("_thread", "allocate_lock")()
    return lock


def in_thread(work: Callable[[], T]) -> T:
    """Do blocking `work`: in a native thread where ours are greenlets, else here and now.

    A greenlet that is killed meanwhile leaves the work running to its end.
    """
    ident = _original("_thread", "get_ident")
    if not is_cooperative() or ident() in _working:
        return work()
    import gevent

    def guarded() -> tuple[T | None, Exception | None]:
        """Hand errors over: gevent prints what threads raise."""
        me = ident()
        _working.add(me)
        try:
            return work(), None
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            return None, error
        finally:
            _working.discard(me)

    value, error = gevent.get_hub().threadpool.apply(guarded)
    if error is not None:
        raise error
    result: T = value
    return result
