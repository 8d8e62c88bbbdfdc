"""A version whose similarity is a product: its vectors are as long as they were learnt."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from publisher import gate
from publisher.build import draft_of
from publisher.publish import publish
from publisher.reader import load_version
from tests.publisher import checkpoint_fixture as made
from twintide.config import Deployment, fill_in
from twintide.model.two_tower import TwoTower

ITEMS = made.item_range(1000, 400)


@pytest.fixture(params=["flat", "ivf"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Deployment:
    """Dot products under either index."""
    own = made.deployment_at(tmp_path / "data", publishing={"index": request.param, "nprobe": 9})
    return fill_in(own, {"model": {"similarity": "dot", "temperature": 1.0}})


def changed(deployment: Deployment, change: Callable[[TwoTower], None]) -> TwoTower:
    model = made.model_of(deployment, ITEMS)
    change(model)
    return model


def lengthen(model: TwoTower) -> None:
    for side in ("query", "candidate"):
        model.towers.get_parameter(f"{side}.2.weight").data *= 40
        model.towers.get_parameter(f"{side}.2.bias").data *= 40


def collapse(model: TwoTower) -> None:
    model.towers.get_parameter("candidate.2.weight").data[:] = 0


def vanish(model: TwoTower) -> None:
    collapse(model)
    model.towers.get_parameter("candidate.2.bias").data[:] = 0


def test_vectors_of_any_length_pass_the_gate_and_are_served(deployment: Deployment) -> None:
    """What is tolerated between index and towers, then and now, grows with the vectors."""
    made.add_checkpoint(deployment, 1, items=ITEMS, model=changed(deployment, lengthen))
    result = publish(deployment, clock=made.held_clock())

    version = load_version(deployment.versions_dir, result.version)

    lengths = np.linalg.norm(version.index.vectors(np.arange(400))[:, :-1], axis=1)
    assert lengths.min() > 10
    assert lengths.max() > lengths.min() + 1


@pytest.mark.parametrize("change", [collapse, vanish])
def test_items_that_a_product_cannot_tell_apart_are_refused(
    deployment: Deployment, change: Callable[[TwoTower], None]
) -> None:
    """All in one direction, or of no length at all: only the bias would order them."""
    manifest = made.add_checkpoint(deployment, 1, items=ITEMS, model=changed(deployment, change))
    folder = deployment.checkpoints_dir / manifest.name

    draft = draft_of(folder, deployment.publishing, vectors_dir=deployment.vectors_dir)

    reasons = gate.mechanics(draft)
    assert any("point the same way" in reason for reason in reasons), reasons
