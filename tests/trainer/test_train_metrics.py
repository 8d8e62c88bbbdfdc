"""What the scheduler shows of itself: to Prometheus, and to whoever restarts it."""

import urllib.error
import urllib.request

from tests.trainer.conftest import Line, at
from trainer.metrics import TrainMetrics
from trainer.schedule import Rings
from twintide.checkpoints import list_checkpoints
from twintide.clock import HeldClock
from twintide.probes import served


def asked(port: int | None, path: str) -> tuple[int, str]:
    try:
        url = f"http://127.0.0.1:{port}/{path}"
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_both_lines_are_counted_and_it_is_said_why_one_waits(line: Line) -> None:
    """Rows, time, loss and speed of each, sizes of tables, and how old the newest click is that it
    has learnt; a restart begins with what is there.
    """
    clock = HeldClock(at(0, 12))
    rings = Rings(line.deployment, clock, None)
    with served(rings.metrics, 0) as port:
        assert asked(port, "readyz") == (503, "not ready: starts\n")
        rings.metrics.turned()
        assert asked(port, "readyz") == (200, "ready\n")
        rings.hourly()
        assert asked(port, "readyz")[0] == 503
        assert "hourly: there is no nightly checkpoint yet" in asked(port, "readyz")[1]
        clock.move_to(at(1, 2))
        rings.nightly()
        rings.hourly()
        assert asked(port, "readyz") == (200, "ready\n")
        assert asked(port, "livez") == (200, "alive\n")
        text = asked(port, "metrics")[1]
    nightly, hourly = list_checkpoints(line.deployment.checkpoints_dir)
    tables = line.load(hourly.name).arrays

    def value(name: str, **labels: str) -> float | None:
        return rings.metrics.registry.get_sample_value(f"twintide_train_{name}", labels)

    for made in (nightly, hourly):
        assert value("rows_total", line=made.kind) == made.rows > 0
        assert value("loss", line=made.kind) == made.loss
        assert (value("seconds_total", line=made.kind) or 0) > 0
        assert (value("rows_per_second", line=made.kind) or 0) > 0
        assert made.newest_event_at is not None
        age = (at(1, 2) - made.newest_event_at).total_seconds()
        assert abs((value("newest_click_age_seconds", line=made.kind) or 0) - age) < 1
    assert value("table_rows", table="item") == len(tables["table.item.keys"])
    assert value("table_rows", table="item.index") is None
    assert value("state_rows", of="items") == len(line.load(hourly.name).catalogue)
    assert value("state_rows", of="history._clicked") == len(tables["state.history.users"])
    assert value("runs_total", line="hourly", outcome="waiting") == 1
    assert value("runs_total", line="hourly", outcome="nothing") == 1
    assert 'twintide_train_rows_total{line="nightly"}' in text
    again = TrainMetrics(clock)
    again.begin_with([nightly, hourly])
    loss = again.registry.get_sample_value("twintide_train_loss", {"line": "nightly"})
    assert loss == nightly.loss
