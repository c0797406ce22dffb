"""The display of progress: on a terminal, in a notebook, as lines."""

import io
import re
import sys
import types

import numpy as np
import pytest
from rich.console import Console
from rich.live import Live
from runs import matrix

import dnmf
from dnmf.errors import SettingsError
from dnmf.run import display
from dnmf.run.progress import Bar, Horizon, Lines
from dnmf.solvers.history import Record


def terminal(width=120):
    return Console(file=io.StringIO(), force_terminal=True, width=width)


def plain(line):
    return re.sub(r"\x1b\[[\d;]*m", "", line)


def record(passes, optimality):
    return Record(passes, 1.0, None, optimality, 1.0, 0, "hals")


def test_the_number_of_passes_is_that_of_a_geometric_decrease():
    horizon = Horizon()
    horizon.tol, horizon.largest = 1e-6, 100
    for passes in range(1, 8):
        horizon.add(record(passes, 0.3**passes))
        expected = int(np.ceil(np.log(1e-6) / np.log(0.3)))
        assert horizon.passes == (expected if passes > 1 else 100)


@pytest.mark.parametrize(
    ("optimalities", "tol"),
    [([1e-3, 1e-3], 1e-6), ([1e-3, 1e-2], 1e-6), ([np.inf, 1e-2], 1e-6), ([1e-2, 1e-3], 0)],
    ids=["still", "rising", "unknown", "no tol"],
)
def test_without_a_decrease_the_maximum_is_predicted(optimalities, tol):
    horizon = Horizon()
    horizon.tol, horizon.largest = tol, 50
    for passes, optimality in enumerate(optimalities, start=1):
        horizon.add(record(passes, optimality))
    assert horizon.passes == 50


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_fits_a_terminal_and_shows_error_and_optimality_next_to_tol(width):
    console = terminal(width)
    bar, lines = Bar(console), []

    class Look(dnmf.Watcher):
        def passed(self, record):
            with console.capture() as shown:
                console.print(bar._progress.get_renderable())
            lines.append(shown.get())

    dnmf.factorize(matrix(), 4, max_passes=3, tol=1e-7, init="random", watchers=[bar, Look()])
    assert all(line.count("\n") == 1 for line in lines), "the bar is one line"
    assert all("…" not in line and re.search(r":\S\S( left)?\s*$", plain(line)) for line in lines), "nothing is cut"
    assert "error 0." in lines[-1]
    assert "tol 1e-07" in lines[-1]
    assert bool(re.search(r"\d [kMG]?B/s", lines[-1])) == (width == 120)


def test_a_pass_that_reads_V_twice_advances_the_bar_once():
    V, bar, places, reads = np.asfortranarray(matrix(60, 4000, np.float64)), Bar(terminal()), [], [0]

    class Look(dnmf.Watcher):
        def block_read(self, count):
            reads[-1] += count
            places.append(bar._progress.tasks[0].completed / V.nbytes)
            assert places[-1] <= max(bar.passes + 1, 2)

        def passed(self, record):
            reads.append(0)
            places.append(bar._progress.tasks[0].completed / V.nbytes)
            assert places[-1] == record.passes

    dnmf.factorize(V, 4, max_passes=4, tol=0, watchers=[bar, Look()])
    assert reads == [3 * V.nbytes, 2 * V.nbytes, 2 * V.nbytes, 0], "one read makes the sketch, then a pass makes two"
    assert places == sorted(places)


def test_the_notice_of_compilation_is_wrapped_between_words():
    console = terminal(40)
    sentence = "Functions are compiled, which takes up to a minute; their machine code is kept for later runs."
    with display.displayed(Bar(console)):
        display.LOGGER.info(sentence)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    assert len(lines) > 2
    assert max(map(len, lines)) <= 40
    assert " ".join(lines) == sentence


def test_lines_say_what_the_first_pass_was_for():
    console = Console(file=io.StringIO(), width=200)
    result = dnmf.factorize(matrix(), 4, max_passes=3, tol=0, init="nndsvd", watchers=Lines(console))
    shown = console.file.getvalue().splitlines()
    assert "The first pass made the factors to start from." in shown
    last = next(line for line in shown if line.startswith("pass    3"))
    assert f"loss {result.loss:.4e}  error {result.relative_error:.5f}" in last
    assert f"optimality {result.optimality:.1e}" in last
    assert shown[-1] == result.verdict


@pytest.mark.parametrize(
    ("progress", "is_terminal", "kind"),
    [(False, True, None), (None, False, None), (None, True, Bar), (True, True, Bar), (True, False, Lines)],
)
def test_the_display_suits_the_output(progress, is_terminal, kind, monkeypatch):
    console = terminal() if is_terminal else Console(file=io.StringIO())
    monkeypatch.setattr(display, "Console", lambda **options: console)
    found = display.display_for(progress)
    assert found is None if kind is None else type(found) is kind
    result = dnmf.factorize(matrix(), 4, max_passes=2, progress=progress)
    shown = console.file.getvalue()
    if progress:
        assert result.verdict.split(".")[0] in " ".join(shown.split())
    else:
        assert "Converged" not in shown
        assert "The 2 passes" not in shown


def test_a_notebook_shows_an_element_that_is_updated_in_place(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data)

    def show(data, raw, display_id):
        shown.append(data)
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    notebook = types.SimpleNamespace(get_ipython=lambda: shell, display=types.SimpleNamespace(display=show))
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    result = dnmf.factorize(matrix(), 4, max_passes=3, tol=0, progress=True)
    assert shown[-1]["text/html"].startswith("<progress value=")
    assert f"error {result.relative_error:.5f}" in shown[-1]["text/plain"]
    assert result.verdict in shown[-1]["text/plain"]


@pytest.mark.parametrize(
    ("progress", "is_terminal", "expected"),
    [(False, True, ""), (None, False, ""), (None, True, "100%"), (True, True, "100%"), (True, False, "100%")],
)
def test_a_conversion_shows_its_share(progress, is_terminal, expected, monkeypatch, tmp_path):
    console = terminal() if is_terminal else Console(file=io.StringIO())
    monkeypatch.setattr(display, "Console", lambda **options: console)
    dnmf.convert(matrix(), tmp_path / "V.zarr", progress=progress)
    assert expected in plain(console.file.getvalue())
    assert bool(console.file.getvalue()) == bool(expected)


def test_a_live_display_of_the_caller_is_left_alone():
    console = terminal()
    with Live("mine", console=console):
        result = dnmf.factorize(matrix(), 4, max_passes=2, watchers=[Bar(console)])
    assert result.passes == 2


def test_a_function_is_a_watcher():
    passes = []
    result = dnmf.factorize(matrix(), 4, max_passes=3, tol=0, watchers=passes.append)
    assert tuple(passes) == result.history
    with pytest.raises(SettingsError, match="watchers has 3, which is not a watcher"):
        dnmf.factorize(matrix(), 4, watchers=[3])


@pytest.mark.parametrize("stored", [False, True])
def test_an_interruption_says_how_to_continue(stored, tmp_path):
    def interrupt(record):
        raise KeyboardInterrupt

    store = tmp_path / "run.zarr" if stored else None
    with pytest.raises(KeyboardInterrupt) as caught:
        dnmf.factorize(matrix(), 4, watchers=interrupt, store=store)
    note = f"dnmf.resume({str(store)!r})" if stored else "give a store="
    assert note in caught.value.__notes__[0]
