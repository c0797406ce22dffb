"""The options of a run: described, grouped and checked in one place, before any data is read."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Literal, Self, get_args

from dnmf import checks
from dnmf.aliases import LOSS_ALIASES, unknown_option
from dnmf.errors import SettingsError, unknown

Loss = Literal["frobenius", "kullback-leibler", "itakura-saito"]
Solver = Literal["auto", "sketch", "newton", "mu", "hals", "als", "cd", "pg", "minibatch"]
Missing = Literal["none", "nan", "zeros"]
Init = Literal["auto", "sketch", "random", "nndsvd", "nndsvda", "nndsvdar", "spa", "spa_rows"]
Sums = Literal["free", "simplex"]
Weights = float | tuple[float, ...]
Factor = Literal["W", "H"]
Check = Callable[[str, Any], Any]
Group = Literal["Model", "Data", "Solver", "Stopping", "Store", "Resources"]

# β of the named losses.
BETAS = {"frobenius": 2.0, "kullback-leibler": 1.0, "itakura-saito": 0.0}
# The penalties and the constraints of both factors; the transposed problem has the second half of these as its first.
PENALTIES = ("l1_W", "l2_W", "l1_H", "l2_H")
CONSTRAINTS = ("columns_W", "rows_W", "upper_W", "rows_H", "columns_H", "upper_H")
EACH = ": a number, or one for every component."
# Larger powers of entries soon leave the range of floats.
MOST_BETA = 10.0
# Limits for updates of a block and for random starts, beyond which no run would end.
MOST_SWEEPS = MOST_RUNS = 10**4


def _check_loss(name: str, given: Any) -> str | float:
    """Return a loss by its name, where it has one, or as a number.

    >>> _check_loss("loss", "0.5"), _check_loss("loss", 1), _check_loss("loss", "frobenius")
    (0.5, 'kullback-leibler', 'frobenius')
    """
    if given in get_args(Loss):
        return str(given)
    try:
        beta = float(given)
    except (TypeError, ValueError):
        raise unknown(name, given, get_args(Loss), "a number β", LOSS_ALIASES) from None
    if isinstance(given, bool) or not abs(beta) <= MOST_BETA:
        raise SettingsError(f"{name}={given!r} is not allowed; give a name, or β as a number between −10 and 10.")
    return {beta: name for name, beta in BETAS.items()}.get(beta, beta)


def option(default: Any, group: Group, text: str, *, check: Check | None = None, **others: Any) -> Any:
    """Return a field of `Settings` with its default and its metadata.

    Parameters
    ----------
    group
        Where the command line lists the option.
    text
        The description, for Python and the command line.
    check
        Takes the name and a value; returns the value to keep, or raises SettingsError. By default that of the type.
    others
        `least`, `largest`: bounds of a whole number. `metavar`: the placeholder on a command line, for a number that is
        a text there. `adjustable`: True if a run may be resumed with another value.
    """
    return field(default=default, metadata={"group": group, "help": text, "check": check, **others})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of a run.

    The objective is D(V, WH) + l1_W‖W‖₁ + ½ l2_W‖W‖² + l1_H‖H‖₁ + ½ l2_H‖H‖². D is ½‖V − WH‖² for `loss="frobenius"`,
    the generalised Kullback–Leibler divergence for `"kullback-leibler"`, the Itakura–Saito divergence for
    `"itakura-saito"`, and the β-divergence for a number β. D is a weighted sum over the entries that are not missing.
    Graphs, targets and volumes add the terms in `docs/`. W and H are at least 0, and within the given constraints.

    Attributes
    ----------
    {attributes}

    Raises
    ------
    SettingsError
        For a value that is not allowed, and by `from_options` for an unknown name.

    Examples
    --------
    >>> Settings(rank=20, memory_limit="1GB").memory_limit
    1000000000
    >>> Settings.from_options({"rank": 20, "slover": "hals"})
    Traceback (most recent call last):
        ...
    dnmf.errors.SettingsError: the option 'slover' is not known. Did you mean 'solver'?
    """

    rank: int = field(metadata={"group": "Model", "help": "Number of components r.", "check": None})
    layers: tuple[int, ...] = option(
        (), "Model", "Ranks of the layers of a deep factorisation, which a list as rank gives.", check=checks.ranks
    )
    layer_weights: tuple[float, ...] | str | None = option(
        None,
        "Model",
        "Weights of the losses of the layers, 1 by default; `greedy` factorises the H of each layer by itself.",
        check=checks.layer_weights,
    )
    layered: Factor = option(
        "W", "Model", "Factor that is a product of layers: `W`, with the samples in columns, or `H`, in rows."
    )
    loss: Loss | float = option(
        "frobenius",
        "Model",
        "Loss: `frobenius`, `kullback-leibler`, `itakura-saito`, or the number β of a β-divergence.",
        check=_check_loss,
    )
    solver: Solver = option(
        "auto", "Solver", "Algorithm: `auto`, `sketch`, `newton`, `hals`, `als`, `mu`, `cd`, `pg` or `minibatch`."
    )
    init: Init = option(
        "auto", "Solver", "Start: `auto`, `sketch`, `random`, `nndsvd`, `nndsvda`, `nndsvdar`, `spa` or `spa_rows`."
    )
    extrapolate: bool | None = option(
        None, "Solver", "Extrapolate W before each pass; by default only with solver `auto` or `sketch`."
    )
    forget: float = option(
        1.0,
        "Solver",
        "Factor by which a batch of solver `minibatch` scales the sums of earlier batches; 1 keeps them exact.",
        check=checks.fraction,
    )
    shuffle: bool = option(
        False, "Solver", "Update the components in another order in every pass, for Frobenius with every entry of V."
    )
    sweeps: int | None = option(
        None,
        "Solver",
        "Updates of each block of H in a pass, for every solver but `als`; by default chosen by the solver.",
        largest=MOST_SWEEPS,
    )
    l1_W: Weights = option(0.0, "Model", "L1 penalty on W" + EACH, check=checks.penalty)
    l2_W: Weights = option(0.0, "Model", "L2 penalty on W" + EACH, check=checks.penalty)
    l1_H: Weights = option(0.0, "Model", "L1 penalty on H" + EACH, check=checks.penalty)
    l2_H: Weights = option(0.0, "Model", "L2 penalty on H" + EACH, check=checks.penalty)
    columns_W: Sums = option("free", "Model", "Columns of W: `free`, or `simplex` to make each sum to 1.")
    rows_W: Sums = option("free", "Model", "Rows of W: `free`, or `simplex` to make each sum to 1.")
    columns_H: Sums = option("free", "Model", "Columns of H: `free`, or `simplex` to make each sum to 1.")
    rows_H: Sums = option("free", "Model", "Rows of H: `free`, or `simplex` to make each sum to 1.")
    upper_W: float | None = option(None, "Model", "Bound of the entries of W; by default none.", check=checks.positive)
    upper_H: float | None = option(None, "Model", "Bound of the entries of H; by default none.", check=checks.positive)
    graph_weight: float | tuple[float, float] = option(
        1.0,
        "Model",
        "Weight of graph_W and graph_H, or one for each: with 1, neighbours pull about as hard as the data.",
        check=checks.pair,
    )
    target_weight: float = option(1.0, "Model", "Weight of target_W and target_H.")
    volume_W: float = option(0.0, "Model", "Weight of the volume of W; 0.2 is usual.", check=checks.nonnegative)
    volume_H: float = option(0.0, "Model", "Weight of the volume of H; 0.2 is usual.", check=checks.nonnegative)
    missing: Missing = option(
        "none", "Data", "Missing entries: `nan` (NaN in a dense V), `zeros` (not stored in a sparse one), or `none`."
    )
    n_fixed_W: int = option(0, "Model", "Number of leading components with a fixed W.", least=0)
    n_fixed_H: int = option(0, "Model", "Number of leading components with a fixed H.", least=0)
    seed: int = option(0, "Solver", "Random seed.", least=0)
    n_runs: int = option(
        1,
        "Solver",
        "Number of random starts with consecutive seeds, which share every read of V; the best is kept.",
        largest=MOST_RUNS,
    )
    tol: float = option(
        1e-6, "Stopping", "A run ends when the next pass is predicted to gain this share of the loss.", adjustable=True
    )
    max_passes: int = option(
        100,
        "Stopping",
        "Maximum number of passes over V, including those of the initialisation, after which at least one is made.",
        adjustable=True,
    )
    max_seconds: float | None = option(
        None,
        "Stopping",
        "Maximum time in seconds; by default unlimited. The pass in which it runs out is finished.",
        adjustable=True,
    )
    checkpoint_every: int = option(10, "Store", "Passes between two checkpoints.", adjustable=True)
    keep_checkpoints: int = option(2, "Store", "Number of checkpoints to keep.", adjustable=True)
    memory_limit: int | None = option(
        None,
        "Resources",
        "Memory limit of the process, as 1GB, 512MiB or bytes; by default 60 % of the memory available to it.",
        check=checks.parse_bytes,
        metavar="SIZE",
        adjustable=True,
    )
    threads: int | None = option(
        None,
        "Resources",
        "Number of blocks processed at once; by default one per core, and one more if V is read from a disk.",
        adjustable=True,
    )

    def __post_init__(self) -> None:
        for name, of in FIELDS.items():
            if (given := getattr(self, name)) is not of.default:
                object.__setattr__(self, name, checks.check(of, given))
        for name, count, lines in (("fixed_W", self.n_fixed_W, "columns"), ("fixed_H", self.n_fixed_H, "rows")):
            if count > self.rank:
                raise SettingsError(f"{name} has {count} {lines}, and rank={self.rank}; give rank={count} or more.")
        checks.check_layers(self, PENALTIES)

    @property
    def beta(self) -> float:
        """β of the loss."""
        return BETAS[self.loss] if isinstance(self.loss, str) else self.loss

    @property
    def graph_weights(self) -> tuple[float, float]:
        """Weights of graph_W and graph_H."""
        given = self.graph_weight
        return given if isinstance(given, tuple) else (given, given)

    @property
    def width(self) -> int:
        """Number of components of all layers."""
        return sum(self.layers) or self.rank

    @property
    def greedy(self) -> bool:
        """Whether each layer factorises the H of the one before, by itself."""
        return self.layer_weights == "greedy"

    @property
    def streamed(self) -> Literal["rows", "columns"] | None:
        """The axis that V must be read along, or None for any: the factor of layers is held whole."""
        return None if not self.layers else "columns" if self.layered == "W" else "rows"

    def of_layer(self, index: int = -1) -> Self:
        """Return the settings of one layer as those of a single factorisation."""
        if not self.layers:
            return self
        own = {name: getattr(self, name) for name in PENALTIES}
        own = {name: given[index] if isinstance(given, tuple) else given for name, given in own.items()}
        return self.replace({**own, "rank": self.layers[index], "layers": (), "layer_weights": None, "layered": "W"})

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Make settings from a mapping of names to values, as stored in a header or given on a command line."""
        for name in options:
            if name not in FIELDS:
                raise unknown_option(name, FIELDS)
        rank = options.get("rank")
        if rank is None:
            raise SettingsError("rank is missing; give the number of components, as in rank=20.")
        if isinstance(rank, (list, tuple)) and rank:
            return cls(**{**options, "rank": rank[-1], "layers": rank})
        return cls(**options)

    def to_options(self) -> dict[str, Any]:
        """Return the settings as a mapping of plain values, the inverse of `from_options`."""
        options = {name: getattr(self, name) for name in FIELDS}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}

    def replace(self, options: Mapping[str, Any]) -> Self:
        """Return a copy with changed options, which are checked."""
        return self.from_options(self.to_options() | dict(options))

    def swapped(self) -> Self:
        """Return the settings of the transposed problem: what is asked of W and H changes places."""
        new = object.__new__(type(self))
        for name, other in SWAPPED.items():
            object.__setattr__(new, name, getattr(self, other))  # checked before
        return new


FIELDS = {of.name: of for of in dataclasses.fields(Settings)}
_OF_W = ("l1_W", "l2_W", "volume_W", "n_fixed_W", *CONSTRAINTS[:3])
_OF_H = ("l1_H", "l2_H", "volume_H", "n_fixed_H", *CONSTRAINTS[3:])
# The field whose value each one has in the transposed problem.
SWAPPED = {name: name for name in FIELDS} | dict(zip(_OF_W + _OF_H, _OF_H + _OF_W, strict=True))
# Fields of a run that is given by other arguments: the ranks, and the numbers of fixed components.
OPTIONS = {name: of for name, of in FIELDS.items() if name not in ("rank", "layers", "n_fixed_W", "n_fixed_H")}
# A run may be resumed with other values of these, which control its length and its resources.
ADJUSTABLE = tuple(name for name, of in FIELDS.items() if of.metadata.get("adjustable"))
# Options that are data, given in addition to V, and not part of the settings.
DATA_OPTIONS = {
    "weights": "Weights of the entries, at least 0: a matrix of the same shape, cut along the same axis.",
    "fixed_W": "Known columns of W, held fixed as the first components.",
    "fixed_H": "Known rows of H, held fixed as the first components.",
    "graph_W": "Weights of a graph between the rows of V, whose neighbours get similar rows of W.",
    "graph_H": "Weights of a graph between the columns of V, whose neighbours get similar columns of H.",
    "target_W": "Values that W is pulled towards, a matrix (m, r); NaN for none.",
    "target_H": "Values that H is pulled towards, a matrix (r, n); NaN for none.",
    "row_names": "Names of the rows: a text file with one per line, a column as names.tsv::1, or a .json list.",
    "column_names": "Names of the columns: a text file with one per line, a column as names.tsv::1, or a .json list.",
}
ATTRIBUTES = "\n    ".join(f"{name}\n        {of.metadata['help']}" for name, of in FIELDS.items())
Settings.__doc__ = (Settings.__doc__ or "").replace("{attributes}", ATTRIBUTES)
