"""Addresses and texts without their secrets. Everything that shows, keeps or logs a URI asks here."""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
# whose user is shown: an address of a database is copied into other programs, and the user is part of it
_DATABASES = ("postgres", "postgresql", "mysql", "mariadb", "mssql", "oracle")
_FILES = ("sqlite", "file")  # they name no user, and a path may hold an @
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
_SECRET = re.compile(
    r"((?:^|[?&;#\s])[^?&;#=\s/]*(?:passw|pwd|secret|token|signature|credential|api_?key|odbc_connect)[^?&;#=\s/]*="
    r"|[?&;#](?:sig|key|auth)=)([^&\s]+)",
    re.IGNORECASE,
)


def redacted_uri(uri: str) -> str:
    """`uri` without passwords, tokens and signatures.

    A database keeps its user (`postgresql://ann:***@host/db`); other addresses lose it, since it may be a token.
    In doubt, as where a password holds an unescaped `/` or `@`, more is left out rather than less.
    """
    start, user_info, place = _split(uri)
    user, colon, _ = user_info.partition(":")
    shown = f"{user}:{HIDDEN}@" if colon else f"{user}@"
    return (
        start + (shown if user_info and _dialect(start) in _DATABASES else "") + _SECRET.sub(rf"\g<1>{HIDDEN}", place)
    )


def redacted(text: str, *uris: str) -> str:
    """`text`, as of an error, without the secrets of the addresses in it, nor those of `uris` in whatever form."""
    forms = {form for uri in uris for secret in _secrets(uri) for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    text = _ADDRESS.sub(lambda found: redacted_uri(found[0]), text)
    return _SECRET.sub(rf"\g<1>{HIDDEN}", text)


def has_password(uri: str) -> bool:
    """Whether `uri` holds a password: behind its user, or as a part of its query that is called so."""
    _, user_info, place = _split(uri)
    return bool(user_info.partition(":")[2] or re.search(r"[?&;]\w*passw\w*=[^&]", place, re.IGNORECASE))


def _dialect(start: str) -> str:
    return start.partition(":")[0].partition("+")[0].lower()


def _split(uri: str) -> tuple[str, str, str]:
    """What stands before the user, the user with the password, and the rest; passwords may hold `/`, `@`, `?`, `#`."""
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", uri)
    start = found[0] if found else ""
    rest = uri[len(start) :]
    if "@" not in rest or (_dialect(start) in _FILES and rest.startswith("/")):
        return start, "", rest
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority and ":" not in authority:  # the @ is one of the path
        return start, "", rest
    user_info, _, place = rest.rpartition("@")
    return start, user_info, place


def _secrets(uri: str) -> set[str]:
    start, user_info, place = _split(uri)
    user, _, password = user_info.partition(":")
    found = {password or (user if _dialect(start) not in _DATABASES else "")}
    found |= {value for _, value in _SECRET.findall(place)}
    return found - {""}


def _forms(secret: str) -> set[str]:
    """How `secret` may stand in an error: as given, decoded, encoded, or the parts that a parser made of it."""
    decoded = {secret, unquote(secret), unquote_plus(secret)}
    encoded = {form for one in decoded for form in (quote(one, safe=""), quote_plus(one))}
    parts = {part for part in re.split(r"[/?#@:&]", secret) if len(part) > 2}
    return decoded | encoded | parts
