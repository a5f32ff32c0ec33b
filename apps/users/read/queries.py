"""What the users service can be asked about."""

from django.db.models import QuerySet

from apps.users.models import User


def users() -> QuerySet[User]:
    return User.objects.all()
