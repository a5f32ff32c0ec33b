"""Place an order and read it back, with the client that build.py has generated: a command, then a query.

python place_order.py http://127.0.0.1:8000 ann@example.org 'her password'
"""

import sys
from typing import TypeVar

from headrace_client import AuthenticatedClient, Client
from headrace_client.api.auth import auth_login
from headrace_client.api.orders import orders_create, orders_retrieve
from headrace_client.models import Answer, CurrencyEnum, Login, OrderLine, OrderRead, PlaceOrder, Token

Wanted = TypeVar("Wanted")


def require(kind: type[Wanted], answer: object) -> Wanted:
    """The answer, unless it is a problem."""
    if not isinstance(answer, kind):
        sys.exit(f"refused: {answer}")
    return answer


def main(url: str, username: str, password: str) -> None:
    login = auth_login.sync(client=Client(base_url=url), body=Login(username=username, password=password))
    with AuthenticatedClient(base_url=url, token=require(Token, login).token) as client:
        line = OrderLine(sku="BOOK-1", quantity=2, unit_price="19.90")
        order = PlaceOrder(currency=CurrencyEnum.EUR, lines=[line])
        placed = require(Answer, orders_create.sync(client=client, body=order))
        # The rows may be later than the command. With its position, the query waits for it.
        found = orders_retrieve.sync(client=client, id=placed.id, min_event_position=str(placed.position))
        read = require(OrderRead, found)
        print(read.id, read.status.value, read.total, read.currency)


if __name__ == "__main__":
    main(*sys.argv[1:])
