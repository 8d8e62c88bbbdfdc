"""The newest slices of a chain, by the hours that they hold: what may be learnt again beside new
rows, and so what stays for that.
"""

from datetime import datetime, timedelta
from pathlib import Path

from twintide.slices import Slice, all_paths, read_slice


def slices_of_hours(root: Path, *, before: int, hours: int) -> list[Slice]:
    """Those with numbers below `before`, oldest first: the newest of them and back to the first one
    whose hour is `hours` or more before the latest, or that is gone.

    The further on one begins, the less far back one comes, so that what stays for one stays for
    all later ones.
    """
    found: list[Slice] = []
    latest: datetime | None = None
    for path in reversed(all_paths(root)):
        number = int(path.stem)
        if number >= before:
            continue
        if found and number != int(found[-1].name) - 1:
            break
        each = read_slice(path)
        latest = max(latest or each.footer.hour_at, each.footer.hour_at)
        if each.footer.hour_at <= latest - timedelta(hours=hours):
            break
        found.append(each)
    return found[::-1]
