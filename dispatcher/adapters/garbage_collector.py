"""How often Python looks for reference cycles in a process that serves.

Jobs in hand are thousands of objects that live for a while and hold no cycles. With Python's own thresholds each few
hundred of them start a look, and many of these looks go through every object of the process: a quarter of the CPU of a
job, measured by `python -m bench engine`. Reference counts free what has no cycle, as ever.
"""

import contextlib
import gc
from collections.abc import Iterator

YOUNG = 50_000
"""How many more objects than were freed start a look at the young ones."""
_MIDDLE, _OLD = 20, 50


def collect_seldom() -> None:
    """Look for cycles seldom from now on, and never again among what is there now. For a process of ours that has
    started; a second call frees what has become garbage since the first."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, _MIDDLE, _OLD)


@contextlib.contextmanager
def collecting_later() -> Iterator[None]:
    """Do not look for cycles meanwhile. For imports, which make hundreds of thousands of objects that stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
