"""The result of a run."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from dnmf.inspection.figures import plot_history
from dnmf.inspection.hierarchy import Node, hierarchy_of
from dnmf.inspection.html import card
from dnmf.inspection.summary import facts
from dnmf.kernels.blocks.tiles import Float
from dnmf.kernels.floats import own_errors
from dnmf.kernels.preparation.steps import Step
from dnmf.run.anchors import Anchored
from dnmf.run.layers import with_layers
from dnmf.run.normalised import within_sums
from dnmf.run.save import description_of, save_result
from dnmf.run.units import in_units
from dnmf.settings import Settings
from dnmf.solvers.history import Record, Verdict
from dnmf.solvers.several_runs import runs_of
from dnmf.solvers.state import State
from dnmf.sources import Source
from dnmf.sources.names import Names
from dnmf.sources.weighted import steps_of


class Operations(Protocol):
    """The functions of `dnmf` that are also methods of a result."""

    @property
    def transform(self) -> Any:
        """`dnmf.transform`."""

    @property
    def export(self) -> Any:
        """`dnmf.export`."""

    @property
    def write_report(self) -> Any:
        """`dnmf.write_report`."""

    @property
    def resume(self) -> Any:
        """`dnmf.resume`."""

    @property
    def predict(self) -> Any:
        """`dnmf.predict`."""

    @property
    def recommend(self) -> Any:
        """`dnmf.recommend`."""

    @property
    def spectra(self) -> Any:
        """`dnmf.spectra`."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Result(Anchored):
    """The factors of V ≈ WH, and the history of the run.

    If V is in memory, both factors are NumPy arrays. Otherwise the factor along the axis that V is cut along is a lazy
    Dask array, and the other one is a NumPy array. `W, H = result` unpacks them.

    Attributes
    ----------
    history
        One record for every pass.
    settings
        Settings of the run.
    verdict
        Why the run stopped, as a sentence.
    converged
        Whether the run stopped because the next pass promised to lower the loss by at most the share `tol` of it.
    store
        Path of the store, or None.
    runs
        Losses of all runs where the best of several was kept, in the order of their seeds: `runs[i]` is that of
        `seed + i`. Each is the loss after the last pass of its run: under a divergence, runs that start from a sketch
        are dropped after different numbers of passes. Where the runs were made on a sketch of V, they are losses of it.
        Infinite where the numbers of a run left the range of floats.
    anchors
        Numbers of the columns of V that `init="spa"` started the components from, or of the rows with `"spa_rows"`.
    steps
        Steps of the preprocessing of V; `transform` applies them to new data.
    matrix
        Description of V for a store: its fingerprint, its location and that of its weights.
    layers
        The results of the layers, the first one first, if rank was a list; W and H are those of the last one.
    mixing
        Of a layer after the first one, the matrix by which its W is that of the layer before: `layers[1].W` is
        `layers[0].W @ layers[1].mixing`. With `layered="H"`, `layers[1].H` is `layers[1].mixing @ layers[0].H`.
    """

    _operations: ClassVar[Operations]  # set by `dnmf.api`, which imports this module

    history: tuple[Record, ...]
    verdict: str
    converged: bool
    store: str | None
    runs: tuple[float, ...] = ()
    steps: tuple[Step, ...] = ()
    matrix: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    layers: tuple["Result", ...] = dataclasses.field(default=(), repr=False)
    mixing: Float | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        source: Source,
        settings: Settings,
        state: State,
        history: Sequence[Record],
        verdict: Verdict,
        store: str | None,
        names: Names | None = None,
    ) -> Self:
        """Return the result of a state; `names` replace those of the source."""
        layout, steps = source.layout, steps_of(source)
        short, long = in_units(state.W, state.H, steps, layout.transposed, layout.bounds)
        result = cls(
            history=tuple(history),
            settings=settings,
            verdict=verdict.sentence,
            converged=verdict.converged,
            short=short,
            long=long,
            bounds=layout.bounds,
            rows_streamed=layout.transposed,
            names=layout.names if names is None else names,
            in_memory=layout.in_memory,
            store=store,
            runs=runs_of(state),
            anchors=state.anchors,
            steps=steps,
            unfolding=layout.unfolding,
            matrix=description_of(source),
        )
        return with_layers(
            within_sums(result), [(part.loss, part.relative_error) for part in state.parts], state.mixings
        )

    @property
    def passes(self) -> int:
        """Reads of V."""
        return self.history[-1].passes if self.history else 0

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run in seconds, interruptions excluded."""
        return self.history[-1].seconds if self.history else 0.0

    @property
    def loss(self) -> float:
        """The objective after the last pass, penalties included."""
        return self.history[-1].loss if self.history else float("inf")

    @property
    def relative_error(self) -> float | None:
        """‖V − WH‖/‖V‖ after the last pass; None for a loss other than Frobenius."""
        return self.history[-1].relative_error if self.history else None

    @property
    def optimality(self) -> float:
        """The predicted decrease of the loss in the next pass, as a share of the loss; see `Record`."""
        return self.history[-1].optimality if self.history else float("inf")

    @own_errors
    def hierarchy(self, n: int = 10) -> list[Node]:
        """Return the components of the last layer, the largest first, with those of each layer before they are made of.

        Parameters
        ----------
        n
            Number of features of each component.

        Returns
        -------
        list of dnmf.inspection.Node
            Each has `component`, its `part` of the sum of the component above it, and `made_of`; `print` shows it. Of
            one layer, no component is made of others, and the list is empty.

        Examples
        --------
        >>> import dnmf, numpy as np
        >>> V = np.kron(np.eye(2), np.outer([1, 2], [1, 3, 2]))
        >>> print(dnmf.factorize(V, rank=[2, 1], row_names=["a", "b", "c", "d"]).hierarchy(2)[0])
        NMF_1 of layer 2, 100 %: d, c
          NMF_2 of layer 1, 78 %: d, c
          NMF_1 of layer 1, 22 %: b, a
        """
        return hierarchy_of(self, n) if self.layers else []

    def transform(self, V: Any, **options: Any) -> Any:
        """Project new rows or columns on the factors; see `dnmf.transform`."""
        return self._operations.transform(self, V, **options)

    def predict(self, pairs: Any) -> NDArray[np.float64]:
        """Return the entries of WH at pairs of rows and columns; see `dnmf.predict`."""
        found: NDArray[np.float64] = self._operations.predict(self, pairs)
        return found

    def recommend(self, rows: Any = None, n: int = 10, exclude: Any = None, **options: Any) -> list[list[Any]]:
        """Return the columns with the largest entries of WH in some rows; see `dnmf.recommend`."""
        found: list[list[Any]] = self._operations.recommend(self, rows, n, exclude, **options)
        return found

    def spectra(self, V: Any = None, **options: Any) -> Any:
        """Return the components in the units of other data of the same samples; see `dnmf.spectra`."""
        return self._operations.spectra(self, V, **options)

    def export(self, path: str | Path, **options: Any) -> Path:
        """Write both factors with their names, as tables or as an AnnData; see `dnmf.export`."""
        found: Path = self._operations.export(self, path, **options)
        return found

    def report(self, path: str | Path, V: Any = None, **options: Any) -> Path:
        """Write a page about the run; see `dnmf.write_report`."""
        found: Path = self._operations.write_report(self, path, V, **options)
        return found

    def resume(self, V: Any = None, **options: Any) -> Self:
        """Resume the run from its store; see `dnmf.resume`.

        Raises
        ------
        SettingsError
            If the run has no store.

        Examples
        --------
        >>> import dnmf, numpy as np, tempfile
        >>> V, folder = np.random.default_rng(0).random((6, 8)), tempfile.mkdtemp()
        >>> result = dnmf.factorize(V, rank=2, solver="hals", max_passes=5, store=f"{folder}/run.zarr")
        >>> result.resume(V, max_passes=8).passes
        8
        """
        found: Self = self._operations.resume(self, V, **options)
        return found

    def save(self, path: str | Path, *, overwrite: bool = False) -> str:
        """Write the factors with their names and history as a store that `dnmf.load` and the commands read.

        V is not read. The store cannot be resumed; `factorize(V, rank, init=result)` starts a run from the factors.

        Parameters
        ----------
        path
            Path or URL of the store.
        overwrite
            Replace an existing store of a run, but for that of this result.

        Returns
        -------
        str
            The path or URL.

        Raises
        ------
        StoreError
            If the path exists and may not be replaced, or cannot be written.

        Examples
        --------
        >>> import dnmf, numpy as np, tempfile
        >>> result = dnmf.factorize(np.outer([1, 2, 1], [1, 3, 0, 4]), rank=1)
        >>> dnmf.load(result.save(tempfile.mkdtemp() + "/run.zarr")).verdict == result.verdict
        True
        """
        return save_result(self, path, overwrite, self._origin())

    def _origin(self) -> dict[str, Any]:
        """Return how the result was made, for the header of its store, if not by a run."""
        return {}

    def plot_history(self) -> Any:
        """Plot the relative error, or the loss, and the optimality by pass; needs `pip install 'dnmf[plot]'`."""
        return plot_history(self.history, self.settings.tol)

    def _repr_html_(self) -> str:
        return card("Non-negative matrix factorization", facts(self))

    def __repr__(self) -> str:
        error = "" if self.relative_error is None else f", relative error {self.relative_error:.6g}"
        rows, columns = self.shape
        shape = f"W {(rows, self.rank)}, H {(self.rank, columns)}"
        return f"<dnmf.Result: {shape}, {self.passes} passes, loss {self.loss:.6g}{error}. {self.verdict}>"
