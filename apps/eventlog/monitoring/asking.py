"""Ask several databases at once, for a time at most: one that hangs does not keep the answers of the others."""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, connections

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Asking:
    """Asks each question in a thread of its own, and never the same one twice at once, however long it hangs."""

    def __init__(self) -> None:
        self.asked: dict[str, Future[Any]] = {}
        self.lock = threading.Lock()

    def answers(self, questions: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, T]:
        """The answers that are there in time. What failed is logged and left out."""
        with self.lock:
            for name, question in questions.items():
                if name not in self.asked or self.asked[name].done():
                    self.asked[name] = _begin(name, question)
            asked = {name: self.asked[name] for name in questions}
        wait(asked.values(), timeout=seconds)
        return {name: answer.result() for name, answer in asked.items() if answer.done() and not answer.exception()}


def _begin(name: str, question: Callable[[], Any]) -> Future[Any]:
    answer: Future[Any] = Future()
    threading.Thread(target=_work, args=[name, question, answer], name=f"question to {name}", daemon=True).start()
    return answer


def _work(name: str, question: Callable[[], Any], answer: Future[Any]) -> None:
    try:
        try:
            found = question()
        finally:
            connections.close_all()  # those of this thread
    except (DatabaseError, InterfaceError) as error:
        logger.warning("%s does not answer: %s", name, error)
        answer.set_exception(error)
    except Exception as error:
        logger.exception("%s cannot be asked", name)
        answer.set_exception(error)
    else:
        answer.set_result(found)
