"""What a tower was given and gave in one step of learning, for a loss of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from twintide.ragged import Encoded
from twintide.towers import Place


@dataclass(frozen=True)
class Seen:
    """One side's part of a step, for one objective. R rows of this side, P positives, X inputs, D
    width of a vector.
    """

    inputs_RX: Tensor
    """With what gradient flows to them, rows of tables learn."""

    places: Mapping[str, Place]
    """By feature, where it stands in the inputs."""

    encoded: Encoded
    """The R rows, as the inputs were made of them."""

    vectors_RD: Tensor

    row_P: Tensor | None
    """This side's row of each positive; None where every row is one."""

    other_PD: Tensor
    """The other side's vector of each positive. Nothing learns by it."""

    def of(self, feature_name: str) -> Tensor:
        """[R, width of the feature]: its inputs."""
        return self.inputs_RX[:, self.places[feature_name].columns]
