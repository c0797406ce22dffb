"""The reads and writes of chunks that Zarr goes on with after one of them has failed."""

import asyncio
import contextlib
import sys
from typing import Any

# How long to wait for them: a chunk takes less, unless its storage cannot be reached.
PATIENCE_S = 5.0


def finish_tasks() -> None:
    """Wait for the tasks that Zarr has begun.

    Zarr raises the error of the first chunk that fails, while it works on the others. They would write into a folder
    that is being deleted, and at the end of the process Python would print an error for each.
    """
    module: Any = sys.modules.get("zarr.core.sync")
    if module is None or module.loop[0] is None:
        return
    with contextlib.suppress(TimeoutError):
        module.sync(_others(), timeout=PATIENCE_S)


async def _others() -> None:
    """Wait for all tasks of the event loop but this one."""
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
