"""The account of `account.py` for pyeventsourcing; in a module, because it finds its events by name."""

from eventsourcing.domain import Aggregate, event


class Account(Aggregate):
    def __init__(self) -> None:
        self.total = 0

    @event("Deposited")
    def deposit(self, amount: int, note: str) -> None:
        self.total += amount
