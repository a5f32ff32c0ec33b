"""A command over HTTP: validate it, dispatch it, and answer which version of which stream it made."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from apps.eventlog.api.access import DeclaredAccess, open_to
from apps.eventlog.api.command_rate import count_command
from apps.eventlog.api.command_serializer import CommandSerializer
from apps.eventlog.api.conditions import expected_version
from apps.eventlog.api.filters import check_parameters
from apps.eventlog.api.idempotency import Once, begin
from apps.eventlog.commands import Actor, Command, Outcome
from apps.eventlog.dispatch import dispatch

Method = TypeVar("Method", bound=Callable[..., Response])


class AnswerSerializer(serializers.Serializer[Any]):
    """What a command answers: the id, version and position to read the document at, but not the document."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    position = serializers.IntegerField()


def takes(body: type[CommandSerializer], sends: type[Command], *, anyone: bool = False) -> Callable[[Method], Method]:
    """Mark the method that sends a command with the serializer of its body.

    Staff need the permission of the command `sends`. Customers may send it about what is theirs. With `anyone`, people
    without a login may send it too.
    """

    def mark(method: Method) -> Method:
        method.__dict__["body"] = body
        status = 201 if method.__name__ == "create" else 202
        described = extend_schema(request=body, responses={status: AnswerSerializer})(method)
        return open_to(sends.permission, customers=True, anyone=anyone)(described)

    return mark


class CommandViewSet(GenericViewSet[Any]):
    """Base of the write viewsets: POST only, one action a command, marked with what it `takes`.

    Knows `If-Match: "<version>"`, `Idempotency-Key` and the answer `{id, version, position}`.
    """

    permission_classes = [DeclaredAccess]
    sends_commands = True
    once: Once | None = None
    version: int | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method == "POST" and self.action:
            check_parameters(request, set())

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if self.once and response.status_code >= 400:
            self.once.forget()
        return super().finalize_response(request, response, *args, **kwargs)

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Any]]:
        """The serializer of the command's body, also if OPTIONS or a page of the API only describes the command."""
        method = getattr(self, self.action_map.get((self.request.method or "").lower(), ""), None)
        return getattr(method, "body", None) or super().get_serializer_class()

    def fields(self) -> dict[str, Any]:
        """The validated body; raises ValidationError.

        Takes the Idempotency-Key of the request only now, so that a request leaves no record if it is not valid or if
        the sender may not make it.
        """
        body = getattr(self, self.action).body(data=self.request.data, context=self.get_serializer_context())
        body.is_valid(raise_exception=True)
        self.version = expected_version(self.request)
        self.once = begin(self.request)
        return body.validated_data

    @property
    def answered(self) -> Outcome | None:
        """The first answer to the Idempotency-Key of the request; None if there is none yet."""
        return self.once.answer if self.once else None

    def send(self, command: Command, *, actor: Actor | None = None, created: bool = False) -> Response:
        """Dispatch the command and answer. `actor` is given if the command is not in the name of the sender."""
        if self.answered:
            return self.answer(self.answered, created=created)
        count_command(self.request.user)
        outcome = dispatch(
            command,
            actor=actor or Actor.of(self.request.user),
            expected_version=self.version,
            complete=self.once.complete if self.once else None,
            wait=False,
        )
        return self.answer(outcome, created=created)

    def answer(self, outcome: Outcome, *, created: bool) -> Response:
        id = UUID(outcome.stream.partition("-")[2])
        headers = {"Event-Position": str(outcome.position)}
        if created:
            headers["Location"] = self.request.build_absolute_uri(f"{self.request.path}{id}/")
        body = {"id": id, "version": outcome.version, "position": outcome.position}
        return Response(body, status=201 if created else 202, headers=headers)
