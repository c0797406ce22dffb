"""The costs of a survey by rank: passes over V, and seconds."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one step of a survey.

    Attributes
    ----------
    passes, seconds
        Passes over V, and seconds by the clock.
    components
        Components of all models of each rank that took part, folds included.
    """

    passes: int
    seconds: float
    components: Mapping[int, int]

    @classmethod
    def of(cls, passes: int, seconds: float, models: Iterable[int]) -> Self:
        """Return a cost shared by models of these ranks.

        >>> Cost.of(1, 2.5, [2, 2, 3]).components
        {2: 4, 3: 3}
        """
        return cls(passes, seconds, {rank: rank * count for rank, count in Counter(models).items()})

    def share(self, rank: int) -> float:
        """Return the seconds of a rank: its components have this share of all."""
        return self.seconds * self.components.get(rank, 0) / max(sum(self.components.values()), 1)


@dataclasses.dataclass(slots=True)
class Costs:
    """The costs of a survey.

    Attributes
    ----------
    seconds
        Seconds in all, including those between the steps.
    steps
        Costs of the steps `pass-<number>`, `fits-<rank>` and `models-<r>-<r>`.
    unassigned
        Passes counted by an earlier dnmf, which did not record their steps.
    """

    seconds: float = 0.0
    steps: dict[str, Cost] = dataclasses.field(default_factory=dict)
    unassigned: int = 0

    @property
    def passes(self) -> int:
        """Reads of V in all."""
        return self.unassigned + sum(cost.passes for cost in self.steps.values())

    def of(self, rank: int) -> tuple[int, float] | None:
        """Return the passes that models of a rank took part in, and their share of the seconds; None if not known.

        >>> Costs(9.0, {"pass-1": Cost.of(1, 6.0, [2, 4]), "fits-2": Cost.of(0, 0.5, [2])}).of(2)
        (1, 2.5)
        """
        costs = [cost for cost in self.steps.values() if rank in cost.components]
        if self.unassigned or not costs:
            return None
        return sum(cost.passes for cost in costs), sum(cost.share(rank) for cost in costs)

    def to_json(self) -> dict[str, Any]:
        """Return the costs as JSON values."""
        steps = {name: dataclasses.asdict(cost) for name, cost in self.steps.items()}
        return {"passes": self.passes, "seconds": self.seconds, "works": steps}

    @classmethod
    def from_json(cls, read: Any) -> Self:
        """Return the costs from JSON values, which of an earlier dnmf have no steps; ValueError if they are not finite.

        >>> costs = Costs.from_json({"passes": 3, "seconds": 1.5})
        >>> costs.passes, costs.of(2)
        (3, None)
        """
        steps = {
            str(name): Cost(
                int(cost["passes"]),
                float(cost["seconds"]),
                {int(rank): int(count) for rank, count in cost["components"].items()},
            )
            for name, cost in read.get("works", {}).items()
        }
        unassigned = int(read["passes"]) - sum(cost.passes for cost in steps.values())
        costs = cls(float(read["seconds"]), steps, unassigned)
        if not math.isfinite(costs.seconds + sum(cost.seconds for cost in steps.values())):
            raise ValueError("seconds are finite")
        return costs
