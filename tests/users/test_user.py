"""The user decides: who is registered, active, and under which e-mail address."""

from uuid import uuid4

import pytest

from apps.eventlog.commands import Actor
from apps.eventlog.dispatch import dispatch
from apps.eventlog.repository import Forbidden, NotFound
from apps.eventlog.reservations import Reserved
from apps.users.events import UserDeactivated, UserEmailChanged, UserReactivated, UserRegistered, UserRenamed, email_key
from apps.users.write.commands import ChangeEmail, DeactivateUser, ReactivateUser, RegisterUser, RenameUser
from tests.support.scenario import Scenario

REGISTERED = UserRegistered("ann@example.org", "Ann")
DEACTIVATED = UserDeactivated("left")


def test_a_user_registers(user: Scenario) -> None:
    user.when(RegisterUser(user.id, "ann@example.org", "Ann")).then(REGISTERED)


def test_a_user_is_renamed(user: Scenario) -> None:
    user.given(REGISTERED).when(RenameUser(user.id, "Anna")).then(UserRenamed("Anna"))


def test_the_same_name_again_is_no_event(user: Scenario) -> None:
    user.given(REGISTERED).when(RenameUser(user.id, "Ann")).then()


def test_a_user_changes_the_address(user: Scenario) -> None:
    user.given(REGISTERED).when(ChangeEmail(user.id, "a@example.org")).then(UserEmailChanged("a@example.org"))


def test_a_user_is_deactivated(user: Scenario) -> None:
    user.given(REGISTERED).when(DeactivateUser(user.id, "left")).then(DEACTIVATED)


def test_an_inactive_user_comes_back(user: Scenario) -> None:
    user.given(REGISTERED, DEACTIVATED).when(ReactivateUser(user.id)).then(UserReactivated())


def test_an_inactive_user_cannot_be_deactivated(user: Scenario) -> None:
    user.given(REGISTERED, DEACTIVATED).when(DeactivateUser(user.id, "x")).then_refused("only an active user")


def test_an_active_user_cannot_be_reactivated(user: Scenario) -> None:
    user.given(REGISTERED).when(ReactivateUser(user.id)).then_refused("only an inactive user can be reactivated")


def test_an_inactive_user_cannot_change_the_address(user: Scenario) -> None:
    user.given(REGISTERED, DEACTIVATED).when(ChangeEmail(user.id, "b@example.org")).then_refused("only an active user")


def test_a_user_does_not_reactivate_themselves(user: Scenario) -> None:
    itself = Actor.customer(user.id)
    user.given(REGISTERED, DEACTIVATED).when(ReactivateUser(user.id), actor=itself).then_refused("staff", Forbidden)


def test_another_user_is_not_found(user: Scenario) -> None:
    stranger = Actor.customer(uuid4())
    user.given(REGISTERED).when(RenameUser(user.id, "X"), actor=stranger).then_refused("not found", NotFound)


@pytest.mark.parametrize("other", ["ann@example.org", "ANN@example.org", "ann@EXAMPLE.org.", "ann@exam\u200bple.org"])
def test_two_active_users_cannot_have_one_address(user: Scenario, other: str) -> None:
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Ann"))
    user.when(RegisterUser(user.id, other, "Another")).then_refused("taken", Reserved)


def test_a_deactivated_users_address_is_free_and_can_be_lost(user: Scenario) -> None:
    dispatch(RegisterUser(user.id, "ann@example.org", "Ann"))
    dispatch(DeactivateUser(user.id, "left"))
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Another"))
    with pytest.raises(Reserved):
        dispatch(ReactivateUser(user.id))


def test_a_changed_address_is_free_again() -> None:
    ann = uuid4()
    dispatch(RegisterUser(ann, "ann@example.org", "Ann"))
    dispatch(ChangeEmail(ann, "anna@example.org"))
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Another"))


def test_the_case_of_ones_own_address_can_be_changed() -> None:
    ann = uuid4()
    dispatch(RegisterUser(ann, "ann@example.org", "Ann"))
    dispatch(ChangeEmail(ann, "Ann@example.org"))
    with pytest.raises(Reserved):
        dispatch(RegisterUser(uuid4(), "ann@example.org", "Another"))


def test_the_key_of_an_address_is_stable() -> None:
    assert email_key(email_key("ÄNN@Example.ORG.")) == email_key("änn@example.org")
