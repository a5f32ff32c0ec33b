"""DRF's own tokens, sent as Headrace's are."""

from rest_framework.authentication import TokenAuthentication


class BearerAuthentication(TokenAuthentication):
    keyword = "Bearer"
