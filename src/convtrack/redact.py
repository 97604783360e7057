"""Remove secrets from URIs and messages. Use it wherever a URI is shown, stored or logged."""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
# database URIs keep their user name, since people copy them into other programs
_DATABASES = ("postgres", "postgresql", "mysql", "mariadb", "mssql", "oracle")
_FILES = ("sqlite", "file")  # without a user; a path may contain @
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
_SECRET = re.compile(
    r"((?:^|[?&;#\s])[^?&;#=\s/]*(?:passw|pwd|secret|token|signature|credential|api_?key|odbc_connect)[^?&;#=\s/]*="
    r"|[?&;#](?:sig|key|auth)=)([^&\s]+)",
    re.IGNORECASE,
)


def redacted_uri(uri: str) -> str:
    """`uri` without passwords, tokens and signatures.

    Database URIs keep the user name (`postgresql://ann:***@host/db`). Others lose it, since it may be a token. In
    doubt, for example if a password contains an unescaped `/` or `@`, too much is removed rather than too little.
    """
    start, user_info, rest = _split(uri)
    user, colon, _ = user_info.partition(":")
    shown = f"{user}:{HIDDEN}@" if colon else f"{user}@"
    return start + (shown if user_info and _dialect(start) in _DATABASES else "") + _SECRET.sub(rf"\g<1>{HIDDEN}", rest)


def redacted(text: str, *uris: str) -> str:
    """`text`, such as an error message, without the secrets of the URIs in it and those of `uris` in any encoding."""
    forms = {form for uri in uris for secret in _secrets(uri) for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    text = _ADDRESS.sub(lambda found: redacted_uri(found[0]), text)
    return _SECRET.sub(rf"\g<1>{HIDDEN}", text)


def in_one_line(text: str, *uris: str) -> str:
    """The beginning of `text`, such as an error message, on one line and `redacted`."""
    return " ".join(redacted(text, *uris).split())[:300]


def has_password(uri: str) -> bool:
    """Whether `uri` contains a password, after the user name or in the query."""
    _, user_info, rest = _split(uri)
    return bool(user_info.partition(":")[2] or re.search(r"[?&;]\w*passw\w*=[^&]", rest, re.IGNORECASE))


def _dialect(start: str) -> str:
    return start.partition(":")[0].partition("+")[0].lower()


def _split(uri: str) -> tuple[str, str, str]:
    """Split into scheme, user with password, and rest; passwords may contain `/`, `@`, `?` and `#`."""
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", uri)
    start = found[0] if found else ""
    rest = uri[len(start) :]
    if "@" not in rest or (_dialect(start) in _FILES and rest.startswith("/")):
        return start, "", rest
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority and ":" not in authority:  # the @ is part of the path
        return start, "", rest
    user_info, _, rest = rest.rpartition("@")
    return start, user_info, rest


def _secrets(uri: str) -> set[str]:
    start, user_info, rest = _split(uri)
    user, _, password = user_info.partition(":")
    found = {password or (user if _dialect(start) not in _DATABASES else "")}
    found |= {value for _, value in _SECRET.findall(rest)}
    return found - {""}


def _forms(secret: str) -> set[str]:
    """The forms of `secret` in an error message: as given, decoded, encoded, or the parts a parser split it into."""
    decoded = {secret, unquote(secret), unquote_plus(secret)}
    encoded = {form for one in decoded for form in (quote(one, safe=""), quote_plus(one))}
    parts = {part for part in re.split(r"[/?#@:&]", secret) if len(part) > 2}
    return decoded | encoded | parts
