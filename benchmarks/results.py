"""Figures, tables and the sections of `RESULTS.md`."""

import datetime
import math
import os
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from contenders import CD, DNMF_CD, MU, PRODUCTS, READING, SAME
from contest import Peer, Run
from measure import machine
from passes import LEVELS

PREFACE = """# Results

Written by `make bench`, or one section at a time by `make bench-dense` and so on; *Full-size measurements* is written
by hand. The peers in a table were run in turn on one machine, each in its own process, from the same start if the peer
accepts one: |N| at the scale of V. Errors are computed from the factors of each peer by the same function: relative
for Frobenius, the divergence itself for Kullback–Leibler. Figures are medians over the rounds, and ratios are medians
of the ratios of each round. The machine was shared, so ratios are more reliable than seconds. A dash means not
reached, or not measured.

- An **iteration** is one by the peer's own count; for dnmf it is a pass, which reads V once. **Reads** counts how
  often V is read.
- **Peak memory** is anonymous memory beyond that of the process with its libraries loaded. It includes V if V is
  loaded, and Java if the peer uses it.
- The **limit** is the time to read the file of V, from the page cache if V fits into memory, and the time of the two
  products of a pass (V·Hᵀ and Vᵀ·W) in NumPy, with one thread per core.
- `dnmf` is the default, which takes no start; neither do gensim, MiniBatchNMF, Spark ALS and RcppML. gensim returns
  only the factor of the features; the other one is solved for, untimed. The seconds of MiniBatchNMF are those of its
  epochs and of one `transform`, which gives the other factor. RcppML, for R, is Debian's package `r-cran-rcppml`; every
  length is a run of its own from one seed. SystemDS runs the updates of its own `gnmf` and `pnmf` as a script,
  since its `gnmf` draws a start with both signs and returns negative factors. SystemDS and Spark are run once, first
  for 1 iteration and then for more while time is left, including the warm-up of Java. Loading and compiling are not
  timed for any peer. nimfa 1.4 needs `np.mat`, which NumPy 2 removed; it is put back.
- Spark ALS fits stored ratings only, so it is not in the sparse table; tensorly and the textbook NMF on dask.array
  have no sparse form. SystemDS reads text or its own files, so it is not in the table of matrices larger than memory.
  scikit-learn is called through `non_negative_factorization`; its class `NMF` also forms V − W·H at the end, which
  does not fit in memory in that table.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return ["| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in line) + " |" for line in lines]


def short(value: float) -> str:
    """Format a number with three digits; NaN and infinity are a dash.

    >>> short(1234.5), short(0.01234), short(float("nan"))
    ('1230', '0.0123', '–')
    """
    if not math.isfinite(value):
        return "–"
    return f"{float(f'{value:.3g}'):g}" if value else "0"


def middle(values: Iterable[float]) -> float:
    """Return the median; infinite if most of the values are."""
    found = [value for value in values if not math.isnan(value)]
    return statistics.median_high(found) if found else math.nan


def ratio(runs: Sequence[Run], others: Sequence[Run], figure: Callable[[Run], float]) -> float:
    """Return the median ratio of a figure to that of another peer, round by round."""
    return middle(figure(mine) / figure(other) for mine, other in zip(runs, others, strict=False))


def seconds_to(goal: float) -> Callable[[Run], float]:
    def seconds(one: Run) -> float:
        point = one.reached(goal)
        return point.seconds if point else math.inf

    return seconds


def reads_to(goal: float) -> Callable[[Run], float]:
    def reads(one: Run) -> float:
        point = one.reached(goal)
        return point.reads if point else math.inf

    return reads


def per_iteration(one: Run) -> float:
    return one.per_iteration


def setup(runs: dict[str, list[Run]]) -> str:
    """Describe the machine and the versions of a measurement."""
    versions = sorted({one.version for found in runs.values() for one in found if one.version})
    return f"{machine()}; load {os.getloadavg()[0]:.1f}; {', '.join(versions)}; {datetime.date.today()}."


def figures(runs: dict[str, list[Run]], peers: Sequence[Peer], size: int) -> list[str]:
    """Return both tables of a contest: time and error, and figures that do not depend on the machine."""
    names = [peer.name for peer in peers]
    reference = next(name for name in (SAME, DNMF_CD.name) if name in names)
    targeted = next(name for name in (CD.name, MU.name) if name in names)
    best = min(one.lowest for name in names for one in runs[name])
    target = [point for point in runs[targeted][0].points if point.iterations <= 20][-1]
    goal = max(target.error or 0.0, best * (1 + LEVELS[-1]))
    target_line = (
        f"The target is the error of {targeted} after {target.iterations} iterations, or 0.1 % above the lowest "
    )
    target_line += f"known if that is larger: {goal:.6g}; "
    head = ["", "start", "ms per iteration", "seconds to the target", f"over `{reference}`"]
    head += ["lowest error (over the lowest known)", "the longest run"]
    times = [time_row(peer, runs[peer.name], runs[reference], goal, best) for peer in peers]
    lines = [target_line + f"the lowest known is {best:.6g}.", "", *table(head, times), ""]
    head = ["", "reads to 1 %", "to 0.1 %", "seconds to 1 %", "to 0.1 %", "peak memory over V"]
    head += ["iteration over reading V", "over the two products"]
    return [*lines, *table(head, [limit_row(peer, runs, size, best) for peer in peers])]


def time_row(peer: Peer, found: Sequence[Run], others: Sequence[Run], goal: float, best: float) -> list[str]:
    """Return the cells of a peer in the table of time and error, with the ratio to the runs of another one."""
    lowest = min(one.lowest for one in found)
    return [
        peer.name,
        "the same" if peer.start else "its own",
        short(1e3 * middle(map(per_iteration, found))),
        short(middle(map(seconds_to(goal), found))),
        short(ratio(found, others, seconds_to(goal))),
        f"{lowest:.6g} (+{100 * (lowest - best) / abs(best):.2g} %)" if math.isfinite(lowest) else "–",
        longest(found),
    ]


def limit_row(peer: Peer, runs: dict[str, list[Run]], size: int, best: float) -> list[str]:
    """Return the cells of a peer in the table of reads, memory and the limit."""
    found, goals = runs[peer.name], [best * (1 + level) for level in LEVELS]
    return [
        peer.name,
        *(short(middle(map(reads_to(goal), found))) for goal in goals),
        *(short(middle(map(seconds_to(goal), found))) for goal in goals),
        short(middle(one.peak / size for one in found)),
        short(ratio(found, runs[READING], per_iteration)),
        short(ratio(found, runs[PRODUCTS], per_iteration)),
    ]


def longest(found: Sequence[Run]) -> str:
    """Return the length of the longest run, and the reasons of failures."""
    last = max((one.points[-1] for one in found if one.points), key=lambda point: point.iterations, default=None)
    words = [f"{last.iterations} in {last.seconds:.1f} s"] if last else []
    return "; ".join(words + [one.failed[:120] for one in found if one.failed])


def write_section(path: Path, title: str, lines: Sequence[str], titles: Sequence[str]) -> None:
    """Replace a section of the file; generated ones follow in the order of the titles, after those written by hand."""
    text = path.read_text() if path.exists() else ""
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    sections[title] = "\n".join(lines)
    order = [name for name in sections if name not in titles] + [name for name in titles if name in sections]
    body = "".join(f"\n## {name}\n\n{sections[name].strip()}\n" for name in order)
    path.write_text(PREFACE + body)
