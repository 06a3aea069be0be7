"""How many questions may be under way at a port: fewer while it says that it is busy."""

from __future__ import annotations

import threading


class Gate:
    """At most ``most`` inside at once. Each ``busy`` halves that, down to one; it grows again by one after as
    many good answers as may be inside: additive increase, multiplicative decrease (Chiu and Jain, 1989).

    Used as a context manager around one question; threads wait at the door.
    """

    def __init__(self, most: int):
        self.most = self.room = most
        self._inside = self._good = 0
        self._door = threading.Condition()

    def __enter__(self) -> Gate:
        with self._door:
            self._door.wait_for(lambda: self._inside < self.room)
            self._inside += 1
        return self

    def __exit__(self, *_) -> None:
        with self._door:
            self._inside -= 1
            self._door.notify_all()

    def busy(self) -> None:
        with self._door:
            self.room, self._good = max(self.room // 2, 1), 0

    def fine(self) -> None:
        with self._door:
            self._good += 1
            if self._good >= self.room and self.room < self.most:
                self.room, self._good = self.room + 1, 0
                self._door.notify_all()
