"""Machine code is kept where this process may write, and where there is no such place, it is compiled again."""

import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import caching
from rich.console import Console

from dnmf.kernels.blocks import compiling
from dnmf.kernels.blocks.compiling import cache_of, compiled, temporary_folder
from dnmf.run.display import displayed
from dnmf.run.progress import Lines


def dot(a, b):
    """The scalar product, by a loop."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


A, B = np.arange(5.0), np.arange(5.0)[::-1].copy()


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Numba finds no folder: neither by the source nor at home."""
    monkeypatch.setattr(caching.InTreeCacheLocator, "from_function", classmethod(lambda *given: None))
    monkeypatch.setattr(compiling.config, "CACHE_DIR", "")
    monkeypatch.setattr(compiling.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


def test_where_numba_finds_no_folder_it_is_a_temporary_one_of_ours(nowhere):
    cache = cache_of(dot)
    assert Path(cache.cache_path).parent == temporary_folder()
    assert temporary_folder().parent == nowhere
    assert stat.S_IMODE(temporary_folder().stat().st_mode) == 0o700
    assert compiled(dot, set())(A, B) == A @ B
    assert list(Path(cache.cache_path).glob("*.nbc"))
    assert compiling.config.CACHE_DIR == ""


def test_without_a_home_no_folder_of_that_name_is_made(nowhere, monkeypatch):
    monkeypatch.chdir(nowhere)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert Path(cache_of(dot).cache_path).parent == temporary_folder()
    assert not (nowhere / "~").exists()


@pytest.mark.parametrize("how", ["open to all", "a link", "a file", "nothing can be written"])
def test_a_temporary_folder_that_others_can_write_is_not_used(how, nowhere, monkeypatch):
    ours = temporary_folder()
    ours.rmdir()
    elsewhere = nowhere / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if how == "open to all":
        ours.mkdir()
        ours.chmod(0o777)
    elif how == "a link":
        ours.symlink_to(elsewhere)
    elif how == "a file":
        ours.touch()
    else:
        monkeypatch.setattr(compiling.tempfile, "tempdir", "/dev/null")
    assert cache_of(dot) is None
    assert compiled(dot, set())(A, B) == A @ B
    assert not list(elsewhere.iterdir())


PROGRAM = """
import sys
from pathlib import Path
from dnmf.kernels.blocks import compiling
compiling.KERNELS = Path(sys.argv[1])
sys.path.insert(0, sys.argv[1])
import caller
print(caller.called_twice(3))
"""


def test_a_change_of_a_function_reaches_those_that_call_it_from_other_modules(tmp_path):
    (tmp_path / "caller.py").write_text(
        "from dnmf.kernels.blocks.compiling import compiled\nfrom inner import called\n\n"
        "def twice(x):\n    return 2 * called(x)\n\ncalled_twice = compiled(twice, set())\n"
    )
    results = []
    for term in ("x + 1", "x + 1", "x + 10"):
        source = "from dnmf.kernels.blocks.compiling import compiled\n\ndef f(x):\n    return TERM\n"
        (tmp_path / "inner.py").write_text(source.replace("TERM", term) + "\ncalled = compiled(f, set())\n")
        variables = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        results.append(done.stdout.strip())
    assert results == ["8", "8", "26"]


def test_a_damaged_cache_is_compiled_again(monkeypatch, tmp_path):
    monkeypatch.setattr(compiling.config, "CACHE_DIR", str(tmp_path))
    assert compiled(dot, set())(A, B) == A @ B
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} == {".nbi", ".nbc"}
    for length in (0, 20):
        for file in files:
            file.write_bytes(file.read_bytes()[:length])
        assert compiled(dot, set())(A, B) == A @ B


def test_a_full_disk_costs_no_run(monkeypatch, tmp_path):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiling.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert compiled(dot, set())(A, B) == A @ B
    assert not list(tmp_path.rglob("*.nbc"))


def test_the_package_is_imported_without_any_folder_to_write(tmp_path):
    code = (
        "from numba.core import caching; import tempfile\n"
        "for kind in caching.CacheImpl._locator_classes: kind.from_function = classmethod(lambda *given: None)\n"
        "tempfile.tempdir = '/dev/null'\n"
        "import dnmf; from dnmf.kernels.blocks.tiles import load_tile; import numpy as np\n"
        "tile = np.zeros((2, 3)); assert load_tile(np.ones((2, 2)), 0, tile) == 2; print(tile.sum())"
    )
    environment = {**os.environ, "HOME": "/dev/null", "NUMBA_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("4.0\n", "")


def test_functions_from_the_cache_give_the_bits_of_those_just_compiled(tmp_path):
    code = (
        "import hashlib; import numpy as np; import scipy.sparse as sp\n"
        "from dnmf.kernels.blocks.buffers import Scratch; from dnmf.kernels.blocks.panels import panels\n"
        "from dnmf.kernels.penalty import Penalty\n"
        "from dnmf.kernels.divergence.exact_columns import minimise_columns; import dataclasses\n"
        "rng = np.random.default_rng(0); W = rng.random((60, 3)); W[:, 1] *= 0.01\n"
        "V = sp.csc_array(rng.poisson(3.0, (60, 300)) * (rng.random((60, 300)) < 0.8) * 1.0)\n"
        "[(_, panel)] = panels(V, V.dtype, Scratch())\n"
        "panel = dataclasses.replace(panel, weights=np.ones_like(panel.values), zeros=False)\n"
        "print(hashlib.sha256(minimise_columns(panel, W, 0.5, Penalty()).tobytes()).hexdigest())"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (subprocess.check_output([sys.executable, "-c", code], env=environment) for _ in range(2))
    assert list(tmp_path.rglob("exact_columns*.nbc"))
    assert first == second


def test_a_display_says_once_that_functions_are_compiled_and_not_when_they_are_loaded(nowhere):
    compiling.announce.cache_clear()
    for expected in (1, 0):
        lines = Lines(Console(file=io.StringIO(), width=200))
        with displayed(lines):
            assert compiled(dot, set())(A, B) == compiled(dot, set())(A, B) == A @ B
        assert lines.console.file.getvalue().count("Functions are compiled, which takes up to a minute") == expected
        compiling.announce.cache_clear()
    assert compiling.LOGGER.handlers == []
