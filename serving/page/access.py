"""How a browser shows that it knows the token: by HTTP Basic, with the token for the password.

Only for the pages, and only to read them: a browser sends Basic along with whatever another site
makes it ask, so it opens nothing that a bearer token opens.
"""

import base64
import binascii
import hmac

CHALLENGE = 'Basic realm="Twintide: any user, the token for the password", charset="UTF-8"'
HINT = "any user name, and the token for the password"
PREFIX = "/page/"


def is_page(path: str) -> bool:
    """Whether a browser shows it."""
    return path == "/" or path.startswith(PREFIX)


def has_password(path: str, header: bytes, token: str) -> bool:
    """Whether a page is asked for by who knows the token."""
    scheme, _, given = header.partition(b" ")
    if not is_page(path) or scheme.lower() != b"basic":
        return False
    try:
        _, _, password = base64.b64decode(given, validate=True).partition(b":")
    except binascii.Error:
        return False
    return hmac.compare_digest(password, token.encode())
