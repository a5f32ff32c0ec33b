"""The web side of a command: validate, dispatch, say where to look."""

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
from apps.eventlog.permissions import actor_of

Method = TypeVar("Method", bound=Callable[..., Response])


class AnswerSerializer(serializers.Serializer[Any]):
    """What a command answers: where to look, not what is there."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    position = serializers.IntegerField()


def takes(body: type[CommandSerializer], sends: type[Command], *, anyone: bool = False) -> Callable[[Method], Method]:
    """Mark the method that sends a command with the serializer of its body.

    Staff need the permission of the command, customers may do it to what is theirs, and anyone if it says so.
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
        """That of the command, also where OPTIONS or a page of the API only describes it."""
        method = getattr(self, self.action_map.get((self.request.method or "").lower(), ""), None)
        return getattr(method, "body", None) or super().get_serializer_class()

    def fields(self) -> dict[str, Any]:
        """The validated body; raises ValidationError.

        Only now is the request's Idempotency-Key taken: what is not valid, or not for the sender, leaves no record.
        """
        body = getattr(self, self.action).body(data=self.request.data, context=self.get_serializer_context())
        body.is_valid(raise_exception=True)
        self.version = expected_version(self.request)
        self.once = begin(self.request)
        return body.validated_data

    @property
    def answered(self) -> Outcome | None:
        """The first answer to the request's Idempotency-Key, if it was sent before."""
        return self.once.answer if self.once else None

    def send(self, command: Command, *, actor: Actor | None = None, created: bool = False) -> Response:
        """Dispatch the command and answer; `actor` where it is not who sent the request."""
        if self.answered:
            return self.answer(self.answered, created=created)
        count_command(self.request.user)
        outcome = dispatch(
            command,
            actor=actor or actor_of(self.request.user),
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
