"""Training curves for TensorBoard: the loss of each step, one curve a run.

They lie below `curves/` of the deployment's `data_dir`; `tensorboard --logdir DIR/curves` draws
them. They are for people to look at: nothing reads them again, and they may be deleted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from trainer.run import OnStep
from twintide.clock import Clock, SystemClock
from twintide.config import Deployment
from twintide.telemetry import get_log

log = get_log("trainer")
LOSS = "loss/step"


def curves_dir(deployment: Deployment) -> Path:
    """Where the curves of a deployment lie."""
    return deployment.data_dir / "curves"


class Curves:
    """The curves of one program; a context manager. Nothing is written before the first step."""

    def __init__(self, deployment: Deployment, *, clock: Clock | None = None) -> None:
        self._root = curves_dir(deployment)
        self._clock = clock or SystemClock()
        self._name = "run"
        self._is_refused = False
        self._writer: EventFileWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def begin(self, kind: Literal["hourly", "nightly"], at: datetime | date) -> None:
        """The steps from here on belong to another run: of an hour, or of a day."""
        self._close()
        when = f"{at:%Y-%m-%dT%H%MZ}" if isinstance(at, datetime) else at.isoformat()
        self._name = f"{kind}-{when}"

    def drawn(self, on_step: OnStep) -> OnStep:
        """A callback that draws each step, then calls `on_step`."""

        def step(learnt: int, to_learn: int, loss: float) -> None:
            self._draw(learnt, loss)
            on_step(learnt, to_learn, loss)

        return step

    def _draw(self, learnt: int, loss: float) -> None:
        value = Summary.Value(tag=LOSS, simple_value=loss)
        at = self._clock.now().timestamp()
        event = Event(step=learnt, wall_time=at, summary=Summary(value=[value]))
        with self._for_looks():
            if self._writer is None and not self._is_refused:
                self._writer = EventFileWriter(str(self._root / self._name))
            if self._writer is not None:
                self._writer.add_event(event)

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        with self._for_looks():
            if writer is not None:
                writer.close()

    @contextmanager
    def _for_looks(self) -> Iterator[None]:
        """A place that cannot be written to costs the curves and never the run: told once."""
        try:
            yield
        except OSError as error:
            self._writer = None
            if not self._is_refused:
                log.warning("curves_not_drawn", folder=str(self._root), why=str(error))
            self._is_refused = True
