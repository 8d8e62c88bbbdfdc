"""What each declared model finds of the next clicks, beside the popular ones and two libraries.

    python -m benchmarks.models --data EVENTS.parquet [--days 9] [--scored 4] [--seeds 3] [--jobs 2]

The data is KuaiRand-Pure, which `configs/kuairand.yaml` declares (it is not part of the project).
Every contestant learns the same clicks in the same order of days, and is asked for each click of
the last days before it learns it, over the whole catalogue. Models are learnt by the trainer's own
code: nights, and hourly passes on the days that are scored. Libraries are left out where they are
missing:

    pip install implicit==0.7.3 torch-rechub==0.9.0

LightFM is not among them: its newest release, 1.17, does not build for Python 3.11. Printed: recall
as the mean over the seeds ± its standard deviation, as Markdown.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.models import peers
from benchmarks.models.contestants import CONTESTANTS
from benchmarks.models.jobs import OfLibrary, OfModel, Setup, lists_of_the_popular, quiet
from benchmarks.models.report import Result, markdown
from benchmarks.models.stage import make_shards
from twintide.config import fill_in, load

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Make the shards, let everybody learn and answer, print the table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--days", type=int, help="of the data's first ones; all by default")
    arguments.add_argument("--scored", type=int, default=4, help="the last so many days")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--jobs", type=int, default=2, help="processes at once")
    arguments.add_argument("--only", action="append", help="contestants whose name holds this")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = fill_in(
            load(ROOT / "configs" / "kuairand.yaml"),
            {
                "data_dir": folder,
                "shards": {"minutes": 60},
                "training": {"hourly": {"holdback_minutes": 0}},
            },
        )
        make_shards(base, chosen.data, days=chosen.days)
        setup = Setup(base, chosen.scored, chosen.seeds)
        jobs = _jobs(lambda name: not chosen.only or any(part in name for part in chosen.only))
        print(markdown(_done(setup, jobs, at_once=chosen.jobs)))


Job = Callable[[Setup], Sequence[Result]]


def _jobs(is_asked_for: Callable[[str], bool]) -> dict[str, Job]:
    """By name; those that take longest first."""
    libraries = {each.name: OfLibrary(each.name) for each in peers.LIBRARIES if each.is_there()}
    models = {each.name: OfModel(each) for each in CONTESTANTS}
    asked = {name: job for name, job in (libraries | models).items() if is_asked_for(name)}
    return {**asked, "popular": lists_of_the_popular}


def _done(setup: Setup, jobs: Mapping[str, Job], *, at_once: int) -> list[Result]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    spawn = multiprocessing.get_context("spawn")
    with (
        Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress,
        ProcessPoolExecutor(at_once, mp_context=spawn, initializer=quiet) as pool,
    ):
        task = progress.add_task("contestants", total=len(jobs))

        names = {pool.submit(job, setup): name for name, job in jobs.items()}
        found = {}
        for future in as_completed(names):
            found[names[future]] = future.result()
            for each in found[names[future]]:
                progress.console.print(each.line(), soft_wrap=True)
            progress.advance(task)
    order = ["popular", *(each.name for each in peers.LIBRARIES), *(c.name for c in CONTESTANTS)]
    return [each for name in order for each in found.get(name, ())]


if __name__ == "__main__":
    main()
