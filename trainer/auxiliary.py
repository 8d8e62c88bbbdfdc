"""Losses that towers have of their own, beside the loss of the clicks.

Shapes: B clicks, U candidate columns, D width of a vector.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.epoch import Batch
from twintide.features.kind import Side
from twintide.model.towers.seen import Seen
from twintide.model.two_tower import TwoTower


def auxiliary_loss(
    model: TwoTower,
    batch: Batch,
    inputs: dict[Side, Tensor],
    *,
    query_BD: Tensor,
    candidate_UD: Tensor,
) -> Tensor | None:
    """What is added to the loss of a step; None where no tower has one."""
    if not model.towers.has_auxiliary:
        return None
    target_B = torch.from_numpy(batch.target).to(query_BD.device)
    of_clicks_BD = F.embedding(target_B, candidate_UD.detach())
    return model.towers.auxiliary(
        {
            "query": Seen(
                inputs["query"],
                model.spec.inputs("query"),
                batch.query,
                query_BD,
                row_B=None,
                other_BD=of_clicks_BD,
            ),
            "candidate": Seen(
                inputs["candidate"],
                model.spec.inputs("candidate"),
                batch.candidate,
                candidate_UD,
                row_B=target_B,
                other_BD=query_BD.detach(),
            ),
        }
    )
