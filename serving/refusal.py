"""Answers that say what is wrong, and what to do."""

import json
from typing import Any

from starlette.responses import Response


def json_answer(content: dict[str, Any], *, status: int = 200) -> Response:
    """FastAPI's own JSON response walks every value first, which costs more than the search."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    return Response(body, status_code=status, media_type="application/json")


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.answer = json_answer({"message": message, "hint": hint}, status=status)
