"""How many streams a login may have open at this process. A stream takes a slot before it is opened."""

from collections import Counter, deque
from threading import Lock

_taken: Counter[str] = Counter()  # by login
# The garbage collector may give a slot back at any instant, also in a thread that holds the lock. So that takes none.
_given_back: deque[str] = deque()
_lock = Lock()


class NoSlotLeft(Exception):
    """The login has as many streams open, or being opened, as it may."""


class Slot:
    """The right of a login to one stream, until it is given back.

    Taking is one step, so requests at the same instant cannot share the last slot. A stream whose client has left
    before it began never runs, and so gives nothing back itself: its slot ends with the object.
    """

    held = False

    def __init__(self, login: str, most: int) -> None:
        """Raises `NoSlotLeft` if the login has `most` slots already."""
        self.login = login
        with _lock:
            while _given_back:
                _taken.subtract([_given_back.popleft()])
            if _taken[login] >= most:
                raise NoSlotLeft
            _taken[login] += 1
            self.held = True

    def give_back(self) -> None:
        if self.held:
            self.held = False
            _given_back.append(self.login)

    def __del__(self) -> None:
        self.give_back()
