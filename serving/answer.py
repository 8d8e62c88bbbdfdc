"""What a version recommends, and how an answer says it."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from serving.request import Id
from twintide.errors import Refused, TwintideError


class Answer(msgspec.Struct, frozen=True):
    """What a version recommends, best first."""

    version: str | None
    """None: of no version."""

    known_user: bool
    """Whether the version has a row or a history of this user, or counts its clicks. Else the
    answer is that of an anonymous user with the rest of the request.
    """

    item_ids: list[Id]
    scores: list[float]
    """Similarity of query and candidate plus the scaled bias; comparable within a version.
    """

    answered_from: Literal["model", "model and popularity", "popularity"] = "model"
    """popularity: what was clicked most of late, for everybody; with model: both lists as one."""

    explained: list[dict[str, Any]] | None = None
    """Of each item why it is there, where that was asked for."""

    remembered: list[str] | None = None
    """Columns of which the last events of the user said what the request did not, if it asks why.
    """

    def to_dict(self) -> dict[str, Any]:
        """As the HTTP answer and `--json` print it."""
        pairs = zip(self.item_ids, self.scores, strict=True)
        items: list[dict[str, Any]] = [
            {"item_id": item_id, "score": score} for item_id, score in pairs
        ]
        if self.explained is not None:
            together = zip(items, self.explained, strict=True)
            items = [item | {"explain": why} for item, why in together]
        said = {} if self.remembered is None else {"remembered": self.remembered}
        return {
            "version": self.version,
            "known_user": self.known_user,
            "answered_from": self.answered_from,
            **said,
            "items": items,
        }

    def to_json(self) -> bytes:
        """The body of the HTTP answer."""
        if self.explained is not None or self.remembered is not None:
            return _ENCODER.encode(self.to_dict())
        items = list(map(_Item, self.item_ids, self.scores))
        return _ENCODER.encode(_Body(self.version, self.known_user, self.answered_from, items))


class _Item(msgspec.Struct, gc=False):
    """An item of an answer without reasons: made and encoded in a third of a dict's time."""

    item_id: Id
    score: float


class _Body(msgspec.Struct):
    """What `Answer.to_dict` gives of such an answer."""

    version: str | None
    known_user: bool
    answered_from: str
    items: list[_Item]


_ENCODER = msgspec.json.Encoder()


def answer_schema() -> dict[str, Any]:
    """The JSON schema of an answer."""
    item = {
        "type": "object",
        "required": ["item_id", "score"],
        "properties": {
            "item_id": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "score": {"type": "number", "description": "comparable within a version"},
            "explain": _explain_schema(),
        },
    }
    return {
        "type": "object",
        "required": ["version", "known_user", "answered_from", "items"],
        "properties": {
            "version": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "description": "the version that answered; null before there is one, where "
                "serving.before_first_version says popularity",
            },
            "known_user": {
                "type": "boolean",
                "description": "false: the version has neither a row nor a history of this user, "
                "and counts none of its clicks, so the answer is that of an anonymous one",
            },
            "answered_from": {
                "enum": ["model", "model and popularity", "popularity"],
                "description": "popularity: the items that were clicked most of late, the same for "
                "everybody, each with its clicks for a score; with model: of a user of whom "
                "nothing is known, the places of an item in both lists together its score",
            },
            "remembered": {
                "type": "array",
                "items": {"type": "string"},
                "description": "with `explain` alone: columns of features that the request leaves "
                "out, and of which the user's last events said",
            },
            "items": {"type": "array", "items": item},
        },
    }


def batch_answer(answers: Sequence[Answer | TwintideError]) -> bytes:
    """The body of the answer to a batch; a request that was refused has why in its place."""
    return _ENCODER.encode(
        {
            "answers": [
                each.to_dict() if isinstance(each, Answer) else {"error": _error(each)}
                for each in answers
            ]
        }
    )


def _error(error: TwintideError) -> dict[str, Any]:
    """With the status that it has where the request comes alone."""
    status = 422 if isinstance(error, Refused) else 500
    return {"status": status, "message": error.message, "hint": error.hint}


def batch_answer_schema() -> dict[str, Any]:
    """The JSON schema of that."""
    text = {"type": "string"}
    error = {
        "type": "object",
        "required": ["status", "message", "hint"],
        "properties": {"status": {"enum": [422, 500]}, "message": text, "hint": text},
    }
    refused = {"type": "object", "required": ["error"], "properties": {"error": error}}
    answers = {"type": "array", "items": {"anyOf": [answer_schema(), refused]}}
    return {"type": "object", "required": ["answers"], "properties": {"answers": answers}}


def _explain_schema() -> dict[str, Any]:
    number = {"type": "number"}
    part = {
        "type": "object",
        "required": ["similarity", "bias"],
        "properties": {"similarity": number, "bias": number},
    }
    pull = {
        "type": "object",
        "required": ["item_id", "score"],
        "properties": {
            "item_id": {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
            "score": number,
        },
    }
    return {
        "type": "object",
        "description": "with `explain` alone",
        "required": ["parts", "history"],
        "properties": {
            "parts": {
                "type": "object",
                "description": "of each objective similarity and bias as they count, together the "
                "score",
                "additionalProperties": part,
            },
            "history": {
                "type": "array",
                "description": "items of the history without which the score would be lower by so "
                "much, the strongest first",
                "items": pull,
            },
        },
    }
