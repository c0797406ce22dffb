"""The columns or rows of V that a run started from."""

import dataclasses

from dnmf.choices import Axis
from dnmf.run.factors import Factors
from dnmf.settings import Settings


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Anchored(Factors):
    """The factors of a run.

    Attributes
    ----------
    settings
        Settings of the run.
    anchors
        Numbers of the columns of V that `init="spa"` started the components from, or of the rows with `"spa_rows"`.
    """

    settings: Settings
    anchors: tuple[int, ...] = ()

    @property
    def anchor_axis(self) -> Axis:
        """The axis of V whose numbers the `anchors` are."""
        asked = self.settings
        return "rows" if asked.init == "spa_rows" or (asked.init == "auto" and asked.volume_H) else "columns"

    @property
    def anchor_names(self) -> list[str] | None:
        """Names of the `anchors`; None if V has no names along their axis."""
        names = getattr(self.names, self.anchor_axis)
        return None if names is None else [str(names[place]) for place in self.anchors if place < len(names)]
