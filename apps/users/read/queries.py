"""The queries of the users service."""

from uuid import UUID

from django.db.models import QuerySet

from apps.users.models import User
from apps.users.read.projectors import UserProjector


def users() -> QuerySet[User]:
    return User.objects.all()


def user_at(user_id: UUID, position: int) -> User | None:
    """The user as they were at a position of the log."""
    return UserProjector.row_at(user_id, position)
