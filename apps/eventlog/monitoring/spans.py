"""Spans of OpenTelemetry, by its API alone. They cost nothing unless an SDK is there to record them.

Across processes, what comes later finds its trace by the `traceparent` in the metadata of the event.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

MOST = 20  # traces in which one batch is shown


def tracing() -> bool:
    """Does an SDK record spans? Whoever sets one up has imported the API; without one it need not be loaded at all."""
    api = sys.modules.get("opentelemetry.trace")
    return api is not None and not isinstance(api.get_tracer_provider(), api.ProxyTracerProvider)


def span(name: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """A span within the one that is open, if there is one."""
    return _started(name, None, attributes) if tracing() else nullcontext()


def within(name: str, traceparent: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """A span within the one that is open. If none is, it follows from what was traced under this `traceparent`."""
    if not tracing():
        return nullcontext()
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    is_open = get_current_span().get_span_context().is_valid
    return _started(name, None if is_open else _context(traceparent), attributes)


def request(method: str, traceparent: str) -> AbstractContextManager[Any]:
    """The span of a request: within that of an instrument of the framework, or else in the trace of the client."""
    if not tracing():
        return nullcontext()
    from opentelemetry.trace import SpanKind, get_current_span  # noqa: PLC0415

    if get_current_span().get_span_context().is_valid:
        return _started(f"request {method}", None, {})
    return _started(f"request {method}", _context(traceparent), {}, SpanKind.SERVER)


def later(name: str, traceparent: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """A span of what follows, perhaps in another process, from what was traced under this `traceparent`."""
    return _started(name, _context(traceparent), attributes) if tracing() else nullcontext()


def batch(name: str, traceparents: Sequence[str], **attributes: str | int) -> AbstractContextManager[Any]:
    """One piece of work on events of several traces: a span in each of them, up to MOST."""
    return _batch(name, list(dict.fromkeys(filter(None, traceparents)))[:MOST], attributes)


@contextmanager
def _batch(name: str, traceparents: list[str], attributes: dict[str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for traceparent in traceparents or [""]:
            stack.enter_context(_started(name, _context(traceparent), attributes))
        yield


def traceparent() -> str:
    """How the span that is open is named to others; empty if none is."""
    if not tracing():
        return ""
    carrier: dict[str, str] = {}
    _propagator().inject(carrier)
    return carrier.get("traceparent", "")


def add(**attributes: str | int) -> None:
    """Say more of the span that is open."""
    if tracing():
        from opentelemetry.trace import get_current_span  # noqa: PLC0415

        get_current_span().set_attributes(attributes)


def _started(name: str, context: Any, attributes: dict[str, Any], kind: Any = None) -> AbstractContextManager[Any]:
    from opentelemetry.trace import SpanKind, get_tracer  # noqa: PLC0415

    named = {f"headrace.{key}": value for key, value in attributes.items()}
    return get_tracer("headrace").start_as_current_span(
        name, context=context, kind=kind or SpanKind.INTERNAL, attributes=named
    )


def _context(traceparent: str) -> Any:
    """The context that a traceparent means; the current one if there is none."""
    return _propagator().extract({"traceparent": traceparent}) if traceparent else None


def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    return TraceContextTextMapPropagator()
