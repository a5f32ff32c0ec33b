"""URLs of the users service. Each resource has one, for commands and queries. `pages` are those for people."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from apps.users.read.viewsets import UserReadViewSet
from apps.users.write.pages import log_in, log_out
from apps.users.write.viewsets import LoginViewSet, UserWriteViewSet


class UserViewSet(UserWriteViewSet, UserReadViewSet):
    """Commands by POST, queries by GET."""


router = SimpleRouter(use_regex_path=False)
router.register("users", UserViewSet, basename="user")
router.register("auth", LoginViewSet, basename="auth")

urlpatterns = [path("", include(router.urls))]
pages = [path("login/", log_in, name="login"), path("logout/", log_out, name="logout")]
