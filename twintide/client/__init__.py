"""Ask a Twintide server from Python: `Client`, and `AsyncClient` for asyncio.

    from twintide.client import Client

    with Client("http://127.0.0.1:8080") as twintide:
        answer = twintide.recommend(7, k=3)

Both take the same arguments, ask again where that may help, and raise the errors of
`twintide.client.outcome`. It needs `pip install 'twintide[client]'`, and loads neither torch nor
Arrow.
"""

from twintide.client.answers import (
    Answer,
    Asked,
    AskedOfMany,
    Explanation,
    Id,
    Part,
    Pull,
    RecentItem,
    ScoredItem,
    Served,
)
from twintide.client.asking import AsyncClient, Client
from twintide.client.outcome import Failed, Rejected, Unavailable

__all__ = [
    "Answer",
    "Asked",
    "AskedOfMany",
    "AsyncClient",
    "Client",
    "Explanation",
    "Failed",
    "Id",
    "Part",
    "Pull",
    "RecentItem",
    "Rejected",
    "ScoredItem",
    "Served",
    "Unavailable",
]
