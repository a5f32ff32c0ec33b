"""One handler for each command: load the user, let it decide."""

from apps.eventlog.dispatch import handles
from apps.eventlog.repository import creating, editing
from apps.users.write import login_names
from apps.users.write.aggregates import User
from apps.users.write.commands import (
    ChangeEmail,
    DeactivateUser,
    EraseUser,
    ReactivateUser,
    RegisterUser,
    RenameUser,
)


@handles(RegisterUser)
def register_user(command: RegisterUser) -> None:
    login_names.require_free(command.email)
    with creating(User, command.user_id) as user:
        user.register(command.email, command.name)


@handles(RenameUser)
def rename_user(command: RenameUser) -> None:
    with editing(User, command.user_id) as user:
        user.rename(command.name)


@handles(ChangeEmail)
def change_email(command: ChangeEmail) -> None:
    with editing(User, command.user_id) as user:
        login_names.require_free(command.email)
        user.change_email(command.email)


@handles(DeactivateUser)
def deactivate_user(command: DeactivateUser) -> None:
    with editing(User, command.user_id) as user:
        user.deactivate(command.reason)


@handles(ReactivateUser)
def reactivate_user(command: ReactivateUser) -> None:
    with editing(User, command.user_id, staff_only=True) as user:
        login_names.require_free(user.email)
        user.reactivate()


@handles(EraseUser)
def erase_user(command: EraseUser) -> None:
    with editing(User, command.user_id, even_erased=True) as user:
        user.erase(command.reason)
