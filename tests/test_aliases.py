"""Names of options in other packages: errors propose the option of the function that was called."""

import inspect

import numpy as np
import pytest
from click.testing import CliRunner

import dnmf
from dnmf.aliases import MEANT, OPTION_ALIASES
from dnmf.cli.app import main
from dnmf.errors import SettingsError

V = np.ones((4, 5))
# A function, the name that is given, and the one that is meant.
HINTS = [
    *(
        (lambda **given: dnmf.select_rank(V, **given), name, "cv")
        for name in ("folds", "n_folds", "k_folds", "n_splits")
    ),
    *(
        (lambda **given: dnmf.select_rank(V, **given), name, "ranks")
        for name in ("range", "k_range", "n_components", "k")
    ),
    (lambda **given: dnmf.select_rank(V, [2], **given), "test_size", "holdout"),
    (lambda **given: dnmf.select_rank(V, [2], **given), "mask", "holdout"),
    (lambda **given: dnmf.select_rank(V, [2], **given), "random_state", "seed"),
    (lambda **given: dnmf.select_rank(V, [2], **given), "max_iter", "max_passes"),
    (lambda **given: dnmf.select_graph_weight(V, 2, **given), "folds", "cv"),
    (lambda **given: dnmf.factorize(V, **given), "n_components", "rank"),
    (lambda **given: dnmf.factorize(V, 2, **given), "weigths", "weights"),
    (lambda **given: dnmf.factorize(V, 2, **given), "mask", "weights"),
    (lambda **given: dnmf.factorize(V, 2, **given), "verbose", "progress"),
    (lambda **given: dnmf.factorize(V, 2, **given), "checkpoint", "store"),
    (lambda **given: dnmf.iterate(V, 2, **given), "callbacks", "watchers"),
    (lambda **given: dnmf.resume("run.zarr", **given), "max_iter", "max_passes"),
    (lambda **given: dnmf.plan(V, **given), "k", "rank"),
    (lambda **given: dnmf.transform("run.zarr", V, **given), "n_jobs", "threads"),
    (lambda **given: dnmf.transform("run.zarr", V, **given), "output", "out"),
    (lambda **given: dnmf.recommend("run.zarr", **given), "top_n", "n"),
    (lambda **given: dnmf.recommend("run.zarr", **given), "mask", "exclude"),
    (lambda **given: dnmf.export("run.zarr", "W", **given), "force", "overwrite"),
    (lambda **given: dnmf.convert(V, "V.zarr", **given), "compression", "compressor"),
    (lambda **given: dnmf.convert(V, "V.zarr", **given), "chunk_size", "chunks"),
    (lambda **given: dnmf.write_report("run.zarr", **given), "filename", "path"),
    (lambda **given: dnmf.preprocessing.tfidf(V, **given), "sample", "samples"),
    (dnmf.NMF, "rank", "n_components"),
    (dnmf.NMF, "seed", "random_state"),
    (dnmf.NMF, "max_passes", "max_iter"),
    (dnmf.MiniBatchNMF, "loss", "beta_loss"),
]


@pytest.mark.parametrize(("call", "given", "meant"), HINTS, ids=lambda name: name if isinstance(name, str) else "")
def test_an_unknown_option_gets_the_one_that_is_meant(call, given, meant):
    with pytest.raises(SettingsError, match=rf"^the option '{given}' is not known\. Did you mean '{meant}'\?$"):
        call(**{given: 1})


def test_a_name_like_no_other_gets_the_place_of_the_options():
    with pytest.raises(SettingsError, match=r"^the option 'zzzzz' is not known\. See help\(dnmf\.transform\)\.$"):
        dnmf.transform("run.zarr", V, zzzzz=1)
    with pytest.raises(SettingsError, match=r"^the option 'zzzzz' is not known\. See help\(dnmf\.NMF\)\.$"):
        dnmf.NMF(zzzzz=1)


def test_every_name_is_in_the_table_once_and_means_an_option():
    assert len(OPTION_ALIASES) == sum(map(len, MEANT))
    public = [one for one in map(dnmf.__getattr__, dnmf.__all__) if inspect.isfunction(one)]
    taken = {name for one in [*public, dnmf.NMF, dnmf.MiniBatchNMF] for name in inspect.signature(one).parameters}
    assert {name for meant in MEANT.values() for name in meant} <= taken


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("rank V.npy --folds 5", "--cv"),
        ("rank V.npy --k-range 2:5", "--ranks"),
        ("fit V.npy --n-components 5", "--rank"),
        ("fit V.npy --n-jobs 5", "--threads"),
        ("graph-weight V.npy --n-folds 5", "--cv"),
        ("convert V.npy V.zarr --compression zstd", "--compressor"),
        ("top run.zarr --top-n 5", "-n"),
    ],
)
def test_the_commands_have_the_same_hints(command, meant):
    ended = CliRunner().invoke(main, command.split())
    assert ended.exit_code == 2
    assert f"Did you mean '{meant}'?" in ended.stderr
