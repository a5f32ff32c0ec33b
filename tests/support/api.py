"""A client of the REST API for tests: JSON in, JSON out, as somebody.

The fixture `api` is nobody in particular, `api.staff` is the staff and `api.customer()` a new customer. `get` and
`post` take a path below /api/ and headers by their names with underscores, and return an `Answer`:

    answer = api.staff.post("invoices/", {"amount": "12.50"}, Idempotency_Key="k")
    assert (answer.status, answer["version"]) == (201, 1)
"""

import json
from typing import Any

import msgspec
from django.contrib.auth import get_user_model
from django.test import Client
from knox.models import AuthToken

PASSWORD = "correct horse battery"


class Answer:
    """Status, JSON body and headers of a response; a body that is not JSON is None."""

    def __init__(self, response: Any) -> None:
        self.response, self.status, self.headers = response, response.status_code, response.headers
        content = b"" if response.streaming else response.content
        self.json = msgspec.json.decode(content) if content and "json" in response.headers["Content-Type"] else None

    def __getitem__(self, key: str) -> Any:
        return self.json[key]

    def __repr__(self) -> str:
        return f"{self.status} {self.json}"


class Api:
    """Sends requests with a token, or without."""

    def __init__(self, token: str = "", user_id: str = "") -> None:
        self.client, self.user_id = Client(raise_request_exception=False), user_id
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **headers: str) -> Answer:
        return Answer(self.client.get(f"/api/{path}", headers=self.headers | _names(headers)))

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST a JSON body; `bytes` go as they are. Header names are given with underscores."""
        data = body if isinstance(body, bytes) else json.dumps(body or {})
        sent = self.headers | _names(headers)
        return Answer(self.client.post(f"/api/{path}", data, content_type="application/json", headers=sent))

    @property
    def staff(self) -> "Api":
        admin = get_user_model().objects.filter(username="admin").first()
        admin = admin or get_user_model().objects.create_superuser("admin", password=PASSWORD)
        return Api(AuthToken.objects.create(admin)[1])

    def customer(self, email: str = "ann@example.org", name: str = "Ann") -> "Api":
        """A new customer, registered and logged in over the API."""
        user = self.post("users/", {"email": email, "name": name, "password": PASSWORD})
        assert user.status == 201, user
        login = self.post("auth/login/", {"username": email, "password": PASSWORD})
        return Api(login["token"], user["id"])

    def place(self, *, customer: str | None = None, price: str = "12.50", currency: str = "EUR", **headers: str) -> str:
        """Place an order of two pieces; returns its id."""
        body = {"currency": currency, "lines": [{"sku": "A-1", "quantity": 2, "unit_price": price}]}
        answer = self.post("orders/", body | ({"customer_id": customer} if customer else {}), **headers)
        assert answer.status == 201, answer
        return str(answer["id"])

    def pages(self, path: str) -> list[dict[str, Any]]:
        """All documents of a list, page by page."""
        documents, url = [], f"/api/{path}"
        while url:
            page = Answer(self.client.get(url, headers=self.headers))
            assert page.status == 200, page
            documents += page["results"]
            url = page["next"]
        return documents


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
