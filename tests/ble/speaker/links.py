"""Ways out and ways in, as the node sees them: the radio or a test makes them."""

import asyncio
from dataclasses import dataclass

from . import wire


class Pipe:
    """A way out: values are written one at a time, in order, each followed by its pause."""

    def __init__(self, label, write, limit=wire.MAX_VALUE, role="central"):
        self.label, self.limit, self.role = label, limit, role
        self.announced = 0.0
        self._write, self._queue = write, asyncio.Queue(4096)
        self._task = asyncio.ensure_future(self._pump())

    def put(self, frame, pause=0.0):
        try:
            self._queue.put_nowait((frame, pause))
        except asyncio.QueueFull:
            pass  # like a radio that cannot keep up: the value is lost

    async def _pump(self):
        while True:
            frame, pause = await self._queue.get()
            try:
                await self._write(frame)
                await asyncio.sleep(pause)
            except Exception:  # a dead link; its owner notices the disconnection
                pass
            finally:
                self._queue.task_done()

    async def drain(self, seconds):
        try:
            await asyncio.wait_for(self._queue.join(), seconds)
        except asyncio.TimeoutError:
            pass

    def close(self):
        self._task.cancel()


@dataclass(eq=False)
class Link:
    """A way in. Several links of a peripheral share one pipe, its notifications."""

    label: str
    pipe: Pipe
    peer: bytes | None = None  # bound by a verified announce with TTL 7
    heard: bool = False
