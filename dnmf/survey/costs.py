"""What a survey has taken, of passes over V and of seconds, and for which ranks."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What some of the work of a survey took.

    Attributes
    ----------
    passes, seconds
        How many passes it made, and how long it took by the clock.
    components
        How many components the models of each rank have together that it was for, those of folds included.
    """

    passes: int
    seconds: float
    components: Mapping[int, int]

    @classmethod
    def of(cls, passes: int, seconds: float, models: Iterable[int]) -> Self:
        """Return the work for models of these ranks.

        >>> Work.of(1, 2.5, [2, 2, 3]).components
        {2: 4, 3: 3}
        """
        return cls(passes, seconds, {rank: rank * count for rank, count in Counter(models).items()})

    def share(self, rank: int) -> float:
        """Return the seconds that count for a rank: the part of all that its components are of all."""
        return self.seconds * self.components.get(rank, 0) / max(sum(self.components.values()), 1)


@dataclasses.dataclass(slots=True)
class Spent:
    """What a survey has taken.

    Attributes
    ----------
    seconds
        In all, with what was done between its works.
    works
        What it was spent on: `pass-<number>`, `fits-<rank>` and `models-<r>-<r>`.
    untold
        Passes that an earlier dnmf counted, which did not say what they were for.
    """

    seconds: float = 0.0
    works: dict[str, Work] = dataclasses.field(default_factory=dict)
    untold: int = 0

    @property
    def passes(self) -> int:
        """Reads of V in all."""
        return self.untold + sum(work.passes for work in self.works.values())

    def of(self, rank: int) -> tuple[int, float] | None:
        """Return the passes in which models of a rank took part, and their share of the seconds; None if not known.

        >>> Spent(9.0, {"pass-1": Work.of(1, 6.0, [2, 4]), "fits-2": Work.of(0, 0.5, [2])}).of(2)
        (1, 2.5)
        """
        works = [work for work in self.works.values() if rank in work.components]
        if self.untold or not works:
            return None
        return sum(work.passes for work in works), sum(work.share(rank) for work in works)

    def to_json(self) -> dict[str, Any]:
        """Return what a file holds of it."""
        works = {name: dataclasses.asdict(work) for name, work in self.works.items()}
        return {"passes": self.passes, "seconds": self.seconds, "works": works}

    @classmethod
    def from_json(cls, read: Any) -> Self:
        """Return what a file says; one by an earlier dnmf has no works. ValueError for what is not finite.

        >>> spent = Spent.from_json({"passes": 3, "seconds": 1.5})
        >>> spent.passes, spent.of(2)
        (3, None)
        """
        works = {
            str(name): Work(
                int(work["passes"]),
                float(work["seconds"]),
                {int(rank): int(count) for rank, count in work["components"].items()},
            )
            for name, work in read.get("works", {}).items()
        }
        untold = int(read["passes"]) - sum(work.passes for work in works.values())
        spent = cls(float(read["seconds"]), works, untold)
        if not math.isfinite(spent.seconds + sum(work.seconds for work in works.values())):
            raise ValueError("seconds are finite")
        return spent
