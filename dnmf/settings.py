"""The options of a run, checked in full before any data is read."""

import dataclasses
import math
import numbers
import re
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from dnmf.errors import DataWarning, SettingsError, unknown, warn

Loss = Literal["frobenius", "kullback-leibler", "itakura-saito"]
Solver = Literal["auto", "sketch", "newton", "mu", "hals", "als", "cd", "minibatch"]
Missing = Literal["none", "nan", "zeros"]
Init = Literal["auto", "sketch", "random", "nndsvd", "nndsvda", "nndsvdar"]

# β of the β-divergence that a name stands for.
BETAS = {"frobenius": 2.0, "kullback-leibler": 1.0, "itakura-saito": 0.0}
# What others call them.
KNOWN_AS = dict.fromkeys(("euclidean", "fro", "gaussian", "l2", "mse"), "frobenius")
KNOWN_AS |= {"kl": "kullback-leibler", "poisson": "kullback-leibler", "is": "itakura-saito"}

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
UNITS |= {f"{unit}i": 2 ** (10 * power) for power, unit in enumerate("kmgt", start=1)}

# Powers of entries beyond this leave the range of floats soon.
MOST_BETA = 10.0

# Whole numbers are below this: a seed goes into 64 bits.
MOST = 2**64

# Updates of a block, and random starts, beyond which no run would end.
MOST_SWEEPS = MOST_RUNS = 10**4

# A run may be resumed with other values of these: they say how far it goes and on what, not what it computes.
ADJUSTABLE = (
    "tol",
    "max_passes",
    "max_seconds",
    "checkpoint_every",
    "keep",
    "memory_limit",
    "threads",
)


# Options that are no settings: what is given beside V.
BESIDE = ("weights", "fixed_W", "row_names", "column_names")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is asked of a run.

    The objective is D(V, WH) + l1_W‖W‖₁ + ½ l2_W‖W‖² + l1_H‖H‖₁ + ½ l2_H‖H‖², where D is ½‖V − WH‖²
    for `loss="frobenius"`, the generalised Kullback–Leibler divergence for `"kullback-leibler"`, that of Itakura and
    Saito for `"itakura-saito"`, and the β-divergence for a number β: 2, 1 and 0 are the three that have names. D counts
    the entries that are not missing, by their weights.

    Attributes
    ----------
    rank
        Number of components r.
    loss, solver, init
        Names, and for the loss also a number; `"auto"` picks the best for the loss and the size. With
        `solver="sketch"`, passes alternate with the factorisation of a sketch of V, which costs no read. Where the
        matrix is not larger than 5·rank both ways, it is `"hals"`, extrapolated.
    extrapolate
        Whether the next pass looks at a point beyond W, on the line from the W before; a step that raises the loss is
        taken back, which costs its pass. `None`: with `solver="auto"` and `"sketch"`, but not with the others.
    forget
        What each batch of `solver="minibatch"` leaves of the sums before it: 1 keeps them exact.
    shuffle
        Whether HALS takes the components in another order in every pass, where every entry counts; the order depends
        on the seed and on the factors.
    sweeps
        Updates of each block of H in a pass, for the solvers that iterate (`mu`, `hals`); `None` lets
        the solver choose.
    l1_W, l2_W, l1_H, l2_H
        Weights of the penalties, ≥ 0.
    tol
        The run has converged when the relative optimality is at most this.
    max_passes
        Reads of V allowed, those of the initialisation included; one pass follows on that always.
    max_seconds
        Seconds allowed; the pass in which they run out is the last. `None` is no limit.
    missing
        `"nan"`: NaN in a dense V is missing. `"zeros"`: what a sparse V does not store is missing. `"none"`: every
        entry counts.
    fixed
        How many of the first components have a W that is given and stays.
    seed
        Of everything random.
    n_runs
        Random starts, of which the best is kept, with the seeds `seed`, `seed` + 1, …. They share every read of V; of a
        sketch they cost none.
    checkpoint_every
        Passes between two checkpoints.
    keep
        Checkpoints kept in the store.
    memory_limit
        Bytes the process may hold, the interpreter included (`"1GB"`, `"512MiB"` and numbers are
        understood); `None` is 60 % of what the process may use.
    threads
        Blocks worked on at once; `None` is one per core, and one more where V is read from a disk.

    Raises
    ------
    SettingsError
        For the first option whose name or value is not allowed.

    Examples
    --------
    >>> Settings(rank=20, memory_limit="1GB").memory_limit
    1000000000
    >>> Settings.from_options({"rank": 20, "slover": "hals"})
    Traceback (most recent call last):
        ...
    dnmf.errors.SettingsError: the option 'slover' is not known. Did you mean 'solver'?
    """

    rank: int
    loss: Loss | float = "frobenius"
    solver: Solver = "auto"
    init: Init = "auto"
    extrapolate: bool | None = None
    forget: float = 1.0
    shuffle: bool = False
    sweeps: int | None = None
    l1_W: float = 0.0
    l2_W: float = 0.0
    l1_H: float = 0.0
    l2_H: float = 0.0
    missing: Missing = "none"
    fixed: int = 0
    seed: int = 0
    n_runs: int = 1
    tol: float = 1e-4
    max_passes: int = 100
    max_seconds: float | None = None
    checkpoint_every: int = 10
    keep: int = 2
    memory_limit: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("rank", "n_runs", "max_passes", "checkpoint_every", "keep"):
            self._set(name, _whole(name, getattr(self, name), 1, {"n_runs": MOST_RUNS}.get(name)))
        for name in ("sweeps", "threads"):
            if getattr(self, name) is not None:
                self._set(name, _whole(name, getattr(self, name), 1, {"sweeps": MOST_SWEEPS}.get(name)))
        for name in ("seed", "fixed"):
            self._set(name, _whole(name, getattr(self, name), least=0))
        if self.fixed > self.rank:
            raise SettingsError(
                f"fixed_W has {self.fixed} columns, and rank={self.rank}; give a rank of at least that."
            )
        self._set("loss", _loss(self.loss))
        for name in ("l1_W", "l2_W", "l1_H", "l2_H", "tol"):
            self._set(name, _real(name, getattr(self, name)))
        if not 0 < _real("forget", self.forget) <= 1:
            raise SettingsError(f"forget={self.forget!r} is not allowed; give a number above 0 and at most 1.")
        if self.max_seconds is not None:
            self._set("max_seconds", _real("max_seconds", self.max_seconds))
        if self.memory_limit is not None:
            self._set("memory_limit", parse_bytes(self.memory_limit))
        if self.extrapolate not in (None, True, False):
            raise SettingsError(f"extrapolate={self.extrapolate!r} is not allowed; give True, False or None.")
        if self.shuffle not in (True, False):
            raise SettingsError(f"shuffle={self.shuffle!r} is not allowed; give True or False.")
        for name, choices in (("solver", Solver), ("init", Init), ("missing", Missing)):
            if getattr(self, name) not in get_args(choices):
                raise unknown(name, getattr(self, name), get_args(choices))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def beta(self) -> float:
        """β of the loss."""
        return BETAS[self.loss] if isinstance(self.loss, str) else self.loss

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Make settings of a mapping, as a store or a command line holds them."""
        names = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in names:
                hint = str(unknown("option", name, names)).rpartition(".")[2]
                raise SettingsError(f"the option {name!r} is not known.{hint}")
        return cls(**options)

    def to_options(self) -> dict[str, Any]:
        """Return the settings as a mapping of plain values, the inverse of `from_options`."""
        return dataclasses.asdict(self)

    def replace(self, options: Mapping[str, Any]) -> Self:
        """Return a copy with some options changed, checked anew."""
        return self.from_options(self.to_options() | dict(options))

    def swapped(self) -> Self:
        """Return the settings of the transposed problem: the penalties of W and H change places."""
        return dataclasses.replace(self, l1_W=self.l1_H, l2_W=self.l2_H, l1_H=self.l1_W, l2_H=self.l2_W)


def check_penalties(settings: Settings) -> None:
    """Warn of penalties of one factor alone, which scale can make as small as one likes, unless the other is held."""
    of_W, of_H = any((settings.l1_W, settings.l2_W)), any((settings.l1_H, settings.l2_H))
    if of_W == of_H or settings.fixed == settings.rank:
        return
    one, other = "WH" if of_W else "HW"
    warn(
        f"A penalty of {one} alone has no effect: {other} absorbs the scale, so that {one} can shrink towards 0 with "
        f"the same product WH. Give one of {other} too (l1_{other} or l2_{other}; alpha_{other} of an estimator; "
        f"--l1-{other} or --l2-{other} on the command line), or give none.",
        DataWarning,
    )


def parse_bytes(given: object) -> int:
    """Return a number of bytes written as a number or as a text with a unit.

    >>> parse_bytes("1.5 GB"), parse_bytes("512MiB"), parse_bytes(1e6)
    (1500000000, 536870912, 1000000)
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+]?[0-9]+)?)\s*([kmgt]?i?)b?\s*", str(given).lower())
    try:
        count = int(float(match[1]) * UNITS[match[2]]) if match else 0
    except (KeyError, ValueError, OverflowError):
        count = 0
    if count < 1 or isinstance(given, bool):
        raise SettingsError(
            f"memory_limit={given!r} is no amount of memory; give bytes, or a text such as '1GB' or '512MiB'."
        )
    return count


def _loss(given: Any) -> str | float:
    """Return a loss by its name, where it has one, or as a number.

    >>> _loss("0.5"), _loss(1), _loss("frobenius")
    (0.5, 'kullback-leibler', 'frobenius')
    """
    if given in get_args(Loss):
        return str(given)
    try:
        beta = float(given)
    except (TypeError, ValueError):
        raise unknown("loss", given, get_args(Loss), "a number β", KNOWN_AS) from None
    if isinstance(given, bool) or not abs(beta) <= MOST_BETA:
        raise SettingsError(f"loss={given!r} is not allowed; give a name, or β as a number between −10 and 10.")
    return {beta: name for name, beta in BETAS.items()}.get(beta, beta)


def _whole(name: str, given: Any, least: int, largest: int | None = None) -> int:
    below = MOST if largest is None else largest + 1
    if not _is_number(given) or not least <= given < below or int(given) != given:
        too_large = _is_number(given) and given >= below
        most = "" if not too_large else " and below 2⁶⁴" if largest is None else f" and at most {largest}"
        raise SettingsError(f"{name}={given!r} is not allowed; give a whole number of at least {least}{most}.")
    return int(given)


def _real(name: str, given: Any) -> float:
    if not _is_number(given) or not 0 <= given < math.inf:
        raise SettingsError(f"{name}={given!r} is not allowed; give a finite number of at least 0.")
    return float(given)


def _is_number(given: object) -> bool:
    return isinstance(given, numbers.Real) and not isinstance(given, bool)
