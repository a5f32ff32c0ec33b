"""What the benchmark's commands run on: an account that takes deposits."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from apps.eventlog.aggregates import Aggregate, applies
from apps.eventlog.commands import Command
from apps.eventlog.dispatch import handles
from apps.eventlog.events import DomainEvent
from apps.eventlog.repository import editing


@dataclass(frozen=True, slots=True)
class Deposited(DomainEvent):
    amount: int
    note: str


class Account(Aggregate):
    category = "account"
    total = 0

    def deposit(self, amount: int, note: str) -> None:
        self.require(self.total >= 0, "an overdrawn account takes no deposit")
        self.record(Deposited(amount, note))

    @applies(Deposited)
    def _deposited(self, event: Deposited) -> None:
        self.total += event.amount


@dataclass(frozen=True, slots=True)
class Deposit(Command):
    permission: ClassVar[str] = "account.change_account"
    account_id: UUID
    amount: int
    note: str


@handles(Deposit)
def deposit(command: Deposit) -> None:
    with editing(Account, command.account_id) as account:
        account.deposit(command.amount, command.note)
