"""What a version recommends, and how an answer says it."""

from dataclasses import dataclass
from typing import Any

import msgspec

from serving.request import Id


@dataclass(frozen=True)
class Answer:
    """What a version recommends, best first."""

    version: str
    known_user: bool
    """Whether the version has a row or a history of this user. Without one, the answer is that of
    an anonymous user with the rest of the request.
    """

    item_ids: list[Id]
    scores: list[float]
    """Similarity of query and candidate plus the scaled bias; comparable within a version.
    """

    def to_dict(self) -> dict[str, Any]:
        """As the HTTP answer and `--json` print it."""
        pairs = zip(self.item_ids, self.scores, strict=True)
        return {
            "version": self.version,
            "known_user": self.known_user,
            "items": [{"item_id": item_id, "score": score} for item_id, score in pairs],
        }

    def to_json(self) -> bytes:
        """The body of the HTTP answer."""
        return _ENCODER.encode(self.to_dict())


_ENCODER = msgspec.json.Encoder()


def answer_schema() -> dict[str, Any]:
    """The JSON schema of an answer."""
    item = {
        "type": "object",
        "required": ["item_id", "score"],
        "properties": {
            "item_id": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "score": {"type": "number", "description": "comparable within a version"},
        },
    }
    return {
        "type": "object",
        "required": ["version", "known_user", "items"],
        "properties": {
            "version": {"type": "string", "description": "the version that answered"},
            "known_user": {
                "type": "boolean",
                "description": "false: the version has neither a row nor a history of this user, "
                "so the answer is that of an anonymous one",
            },
            "items": {"type": "array", "items": item},
        },
    }
