"""The pages on which everybody logs in and out, customers and staff, by a session."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.core.exceptions import ValidationError
from rest_framework.exceptions import Throttled

from apps.eventlog.api.throttles import address_of
from apps.users.write import logins
from apps.users.write.credentials import LONGEST_PASSWORD

LONGEST_NAME = 254  # characters of an e-mail address


class LoginForm(AuthenticationForm):
    """Takes the e-mail address of a customer as well as the name of a member of staff."""

    username = forms.CharField(
        label="Name", max_length=LONGEST_NAME, widget=forms.TextInput({"autofocus": True, "autocomplete": "username"})
    )
    password = forms.CharField(
        max_length=LONGEST_PASSWORD,
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "current-password"}),
    )

    def __init__(self, request: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.fields["username"].widget.attrs["maxlength"] = LONGEST_NAME

    def clean(self) -> dict[str, Any]:
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if name and password and self.request is not None:
            try:
                self.user_cache = logins.authenticate(name, password, address_of(self.request))  # type: ignore[assignment]
            except Throttled as throttled:
                wait = f"{getattr(throttled, 'wait', 0) or 60:.0f} seconds"
                raise ValidationError(f"There were too many tries. Try again in {wait}.") from throttled
            if self.user_cache is None:
                raise ValidationError("This name and this password do not fit.")
        return self.cleaned_data


class LogIn(LoginView):
    """`next` leads on, if it is a page of this site."""

    authentication_form = LoginForm
    template_name = "users/login.html"
    next_page = "home"
    redirect_authenticated_user = True

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        return super().get_context_data(**more) | {"demo": settings.DEMO_LOGIN}


log_in = LogIn.as_view()
log_out = LogoutView.as_view(next_page="home")
