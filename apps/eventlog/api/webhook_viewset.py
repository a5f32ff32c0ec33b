"""Webhooks over HTTP, for staff: endpoints, and what they have not taken."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from apps.eventlog import store
from apps.eventlog.api.access import DeclaredAccess, open_to
from apps.eventlog.api.conditions import await_position, not_stored
from apps.eventlog.api.filters import check_parameters
from apps.eventlog.api.pagination import PARAMETERS, KeysetPagination
from apps.eventlog.api.webhook_serializers import (
    ChangeEndpointSerializer,
    CountSerializer,
    DeliverySerializer,
    EndpointIdSerializer,
    EndpointSerializer,
    MakeEndpointSerializer,
    PlaceSerializer,
    SecretSerializer,
    SendAgainSerializer,
    SendFromSerializer,
    SkipSerializer,
)
from apps.eventlog.relay.webhooks import endpoints, progress
from apps.eventlog.relay.webhooks.models import Delivery, Endpoint

SEE_DELIVERIES, CHANGE_DELIVERIES = "webhooks.view_delivery", "webhooks.change_delivery"


class WebhookViewSet(GenericViewSet[Endpoint]):
    """GET shows, POST changes. None of it is an event: who gets events is no history of the business."""

    permission_classes = [DeclaredAccess]
    queryset = Endpoint.objects.all()
    serializer_class: Any = EndpointSerializer
    filter_backends = []
    lookup_value_converter = "uuid"
    problems = {"skip": (409,)}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in ("GET", "HEAD"):
            check_parameters(request, set(PARAMETERS) if self.action in ("list", "deliveries") else set())
            await_position(request, "the log", lambda position: store.safe_position() >= position)
        elif self.action:
            check_parameters(request, set())

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        return not_stored(super().finalize_response(request, response, *args, **kwargs))

    def handle_exception(self, error: Exception) -> Response:
        return super().handle_exception(NotFound("not found") if isinstance(error, Endpoint.DoesNotExist) else error)

    @open_to("view")
    @extend_schema(responses=EndpointSerializer(many=True))
    def list(self, request: Request) -> Response:
        """All endpoints, in the order in which they were made, and how far each is."""
        pages = KeysetPagination()
        return pages.get_paginated_response(
            progress.documents(pages.paginate_queryset(Endpoint.objects.all(), request))
        )

    @open_to("view")
    def retrieve(self, request: Request, pk: UUID) -> Response:
        """One endpoint, and how far it is."""
        [found] = progress.documents([Endpoint.objects.get(pk=pk)])
        return Response(found)

    @open_to("add")
    @extend_schema(request=MakeEndpointSerializer, responses={201: SecretSerializer})
    def create(self, request: Request) -> Response:
        """An endpoint that gets the events from now on, signed by the secret that only this answer shows."""
        fields = self.fields(MakeEndpointSerializer)
        made, secret = endpoints.create(fields["url"], fields["event_types"], active=fields["active"])
        where = {"Location": request.build_absolute_uri(f"{request.path}{made.pk}/")}
        return Response({"id": made.pk, "secret": secret}, status=201, headers=where)

    @open_to("change")
    @extend_schema(request=ChangeEndpointSerializer, responses=EndpointIdSerializer)
    @action(detail=True, methods=["post"])
    def change(self, request: Request, pk: UUID) -> Response:
        """Change the URL or the types, or switch the endpoint on or off.

        If it is switched on, it goes on where it was.
        """
        endpoints.change(pk, self.fields(ChangeEndpointSerializer))
        return Response({"id": pk})

    @open_to("delete")
    @extend_schema(request=None, responses={204: None})
    @action(detail=True, methods=["post"], url_path="delete")
    def remove(self, request: Request, pk: UUID) -> Response:
        """Delete the endpoint, and what it has not taken."""
        endpoints.delete(Endpoint.objects.get(pk=pk).pk)
        return Response(status=204)

    @open_to("change")
    @extend_schema(request=None, responses=SecretSerializer)
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, pk: UUID) -> Response:
        """A new secret, which only this answer shows. For a day the one before it signs as well."""
        return Response({"id": pk, "secret": endpoints.rotate_secret(pk)})

    @open_to(SEE_DELIVERIES)
    @extend_schema(responses=DeliverySerializer(many=True))
    @action(detail=True)
    def deliveries(self, request: Request, pk: UUID) -> Response:
        """The events that it did not take at once, newest first; those that are settled are shown for a month."""
        pages = KeysetPagination()
        rows = pages.paginate_queryset(Endpoint.objects.get(pk=pk).deliveries.all(), request)
        return pages.get_paginated_response(DeliverySerializer(rows, many=True).data)

    @open_to(CHANGE_DELIVERIES)
    @extend_schema(request=SendAgainSerializer, responses={202: CountSerializer})
    @action(detail=True, methods=["post"], url_path="send-again")
    def send_again(self, request: Request, pk: UUID) -> Response:
        """Send what it has not taken at once, and then for three days."""
        stream = self.fields(SendAgainSerializer).get("stream")
        rows = Delivery.objects.filter(stream=stream) if stream else Delivery.objects.all()
        return self._count(pk, endpoints.send_again(pk, request.user.get_username(), rows))

    @open_to(CHANGE_DELIVERIES)
    @extend_schema(request=SkipSerializer, responses={202: CountSerializer})
    @action(detail=True, methods=["post"])
    def skip(self, request: Request, pk: UUID) -> Response:
        """Leave out an event that it has not taken, so that the later ones of its stream are sent."""
        fields = self.fields(SkipSerializer)
        rows = Delivery.objects.filter(stream=fields["stream"], position=fields["position"])
        count = endpoints.skip(pk, request.user.get_username(), fields["reason"], rows)
        if not count:
            raise ValidationError({"position": ["no event at this position waits in this stream"]})
        return self._count(pk, count)

    @open_to("change")
    @extend_schema(request=SendFromSerializer, responses={202: PlaceSerializer})
    @action(detail=True, methods=["post"], url_path="send-from")
    def send_from(self, request: Request, pk: UUID) -> Response:
        """Send everything after a position, in order, also what it has taken before."""
        after = self.fields(SendFromSerializer)["after"]
        if after > store.head():
            raise ValidationError({"after": ["the log has no such position yet"]})
        return Response({"id": pk, "position": endpoints.send_from(pk, after).position}, status=202)

    def fields(self, kind: type[Any]) -> dict[str, Any]:
        body = kind(data=self.request.data, context=self.get_serializer_context())
        body.is_valid(raise_exception=True)
        return body.validated_data

    def _count(self, pk: UUID, count: int) -> Response:
        return Response({"id": pk, "deliveries": count}, status=202)
