"""Many small pieces of work in threads, in order, ended by an interrupt."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tasks.progress import Progress

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Threads for work that needs a core each: those this process may use, at most 8."""
    return min(len(os.sched_getaffinity(0)), 8)


def in_parallel(
    function: Callable[[T], R], items: Iterable[T], workers: int, progress: Progress, unit: str
) -> Iterator[R]:
    """`function` of each item in threads, in order; few are on the way at once, none is begun after an interrupt."""
    items = list(items)
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, "f2f-import")
    try:
        for number in range(len(items) + 8 * workers):
            if number < len(items):
                pending.append(pool.submit(function, items[number]))
            done = number - 8 * workers + 1
            if done > 0 and pending:
                yield pending.popleft().result()
                progress(done, len(items), unit)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
