"""Losses that towers have of their own, beside the loss of an objective's positives.

Shapes: B rows of a batch, P of them positives, U candidate columns, D width of a vector.
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
    positive_P: Tensor | None,
    query_BD: Tensor,
    candidate_UD: Tensor,
) -> Tensor | float:
    """What is added to the mean loss of these positives, None for all rows; 0 where no tower has
    such a loss.
    """
    if not model.towers.has_auxiliary:
        return 0.0
    target_P = torch.from_numpy(batch.target).to(query_BD.device)
    of_clicks_PD = query_BD.detach()
    if positive_P is not None:
        target_P, of_clicks_PD = target_P[positive_P], of_clicks_PD[positive_P]
    return model.towers.auxiliary(
        {
            "query": Seen(
                inputs["query"],
                model.spec.inputs("query"),
                batch.query,
                query_BD,
                row_P=positive_P,
                other_PD=F.embedding(target_P, candidate_UD.detach()),
            ),
            "candidate": Seen(
                inputs["candidate"],
                model.spec.inputs("candidate"),
                batch.candidate,
                candidate_UD,
                row_P=target_P,
                other_PD=of_clicks_PD,
            ),
        }
    )
