"""Options: allowed values, and the errors for others."""

import dataclasses
import inspect
import json
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import dnmf
import dnmf.checks
from dnmf.checks import check, parse_bytes
from dnmf.errors import DnmfError, SettingsError, unknown
from dnmf.run.options import Options
from dnmf.settings import ADJUSTABLE, DATA_OPTIONS, OPTIONS, PENALTIES, Init, Settings

WHOLE = ["rank", "max_passes", "checkpoint_every", "keep_checkpoints", "threads", "sweeps"]
REAL = ["l1_W", "l2_W", "l1_H", "l2_H", "tol", "max_seconds"]


@pytest.mark.parametrize("value", [0, -1, 2.5, "3", "many", None, True, np.True_, np.nan, np.inf, [3], np.array([3])])
@pytest.mark.parametrize("name", WHOLE)
def test_values_other_than_whole_numbers_from_one_are_refused(name, value):
    if value is None and name in ("threads", "sweeps"):
        assert getattr(Settings(**{"rank": 1, name: value}), name) is None
        return
    with pytest.raises(
        SettingsError,
        match=rf"^{name}=.* is not allowed; give a whole number of at least 1( and below 2⁶⁴| and at most 10000)?\.$",
    ):
        Settings(**{"rank": 1, name: value})


@pytest.mark.parametrize("value", [-1, -1e-300, np.nan, np.inf, "0.5", "much", [1.0], True, np.True_, 1j])
@pytest.mark.parametrize("name", REAL)
def test_values_other_than_finite_numbers_from_zero_are_refused(name, value):
    if isinstance(value, list) and name in PENALTIES:  # a penalty of every component
        assert getattr(Settings(**{"rank": 1, name: value}), name) == (1.0,)
        return
    with pytest.raises(SettingsError, match=rf"^{name}=.* is not allowed; give a finite number of at least 0\.$"):
        Settings(**{"rank": 1, name: value})


@pytest.mark.parametrize("value", [-1, 2**64, 0.5, True])
def test_a_seed_is_a_whole_number_of_64_bits(value):
    with pytest.raises(SettingsError, match=r"^seed=.* is not allowed; give a whole number of at least 0"):
        Settings(rank=1, seed=value)


@pytest.mark.parametrize("number", [3, 3.0, np.int64(3), np.uint8(3), np.float32(3)])
def test_whole_numbers_of_any_kind_are_kept_as_int(number):
    settings = Settings(rank=number, max_passes=number, threads=number, seed=number, tol=number)
    assert (settings.rank, settings.max_passes, settings.threads, settings.seed, settings.tol) == (3, 3, 3, 3, 3.0)
    assert {type(settings.rank), type(settings.threads), type(settings.seed)} == {int}
    json.dumps(settings.to_options(), allow_nan=False)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (1, 1),
        (10**9, 10**9),
        (1e9, 10**9),
        (1e20, 10**20),
        (np.int64(5), 5),
        ("1000", 1000),
        ("1000B", 1000),
        ("1kB", 1000),
        ("1 KB", 1000),
        ("1KiB", 1024),
        ("1.5GB", 1_500_000_000),
        (" 2 gib ", 2 * 2**30),
        ("2g", 2 * 10**9),
        ("0.001TB", 10**9),
        ("1e9", 10**9),
    ],
)
def test_amounts_of_memory_are_understood(given, count):
    assert parse_bytes("memory_limit", given) == count
    assert Settings(rank=1, memory_limit=given).memory_limit == count


@pytest.mark.parametrize(
    "given",
    [0, -1, "", "many", "1XB", "1 2", "GB", "1.2.3GB", "1iB", "-1GB", True, np.nan, np.inf, "1e999", [1], b"1GB"],
)
def test_texts_that_are_not_an_amount_of_memory_are_refused(given):
    with pytest.raises(
        SettingsError, match=r"^memory_limit=.* is not an amount of memory; give bytes, or a text such as"
    ):
        Settings(rank=1, memory_limit=given)


@pytest.mark.parametrize(
    ("name", "value", "near"),
    [
        ("loss", "frobenious", "frobenius"),
        ("loss", "kullback_leibler", "kullback-leibler"),
        ("solver", "HALS", None),
        ("solver", "hal", "hals"),
        ("solver", 3, None),
        ("init", "nnsvd", "nndsvd"),
        ("init", "Random", "random"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones_and_the_nearest(name, value, near):
    with pytest.raises(SettingsError, match=rf"^{name}={value!r} is not known; allowed are ") as caught:
        Settings(**{"rank": 1, name: value})
    assert ("Did you mean" in str(caught.value)) == (near is not None)
    if near:
        assert str(caught.value).endswith(f"Did you mean {near!r}?")


@pytest.mark.parametrize(("given", "near"), [("max_iter", "max_passes"), ("l1_w", "l1_W"), ("memory", "memory_limit")])
def test_unknown_options_are_refused_with_the_nearest(given, near):
    with pytest.raises(SettingsError) as caught:
        Settings.from_options({"rank": 1, given: 1})
    assert str(caught.value).startswith(f"the option {given!r} is not known.")
    assert near in str(caught.value) or "Did you mean" not in str(caught.value)


def test_an_option_like_no_other_gets_no_hint():
    with pytest.raises(SettingsError, match=r"^the option 'zzzzz' is not known\.$"):
        Settings.from_options({"rank": 1, "zzzzz": 1})
    assert str(unknown("x", "zzzzz", ["abc"])) == "x='zzzzz' is not known; allowed are 'abc'."


def test_settings_go_through_a_mapping_and_back():
    settings = Settings(rank=3, loss="kullback-leibler", solver="mu", l1_W=0.1, memory_limit="1GB", max_seconds=5)
    options = json.loads(json.dumps(settings.to_options()))
    assert Settings.from_options(options) == settings
    assert settings.replace({"max_passes": 7}).max_passes == 7
    assert settings.max_passes == 100


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings(rank=1).rank = 2


def test_the_transposed_problem_swaps_the_penalties_and_nothing_else():
    settings = Settings(rank=2, l1_W=1, l2_W=2, l1_H=3, l2_H=4, seed=5)
    swapped = settings.swapped()
    assert (swapped.l1_W, swapped.l2_W, swapped.l1_H, swapped.l2_H) == (3, 4, 1, 2)
    assert swapped.swapped() == settings


def test_adjustable_options_are_options():
    assert set(ADJUSTABLE) < {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("function", [dnmf.factorize, dnmf.iterate])
def test_help_shows_every_option_with_its_default(function):
    shown = inspect.signature(function).parameters
    for field in dataclasses.fields(Settings):
        if field.name in OPTIONS:
            assert shown[field.name].default == field.default
            assert shown[field.name].kind is inspect.Parameter.KEYWORD_ONLY
    assert not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in shown.values())


def test_every_option_is_described_where_it_is_defined():
    for field in dataclasses.fields(Settings):
        assert f"    {field.name}\n        {field.metadata['help']}\n" in Settings.__doc__
        assert field.name in dnmf.factorize.__doc__ or field.name in ("layers", "n_fixed_W", "n_fixed_H")
        assert field.metadata["help"].endswith(".")
        for name in get_args(field.type) if get_origin(field.type) is Literal else ():
            assert f"`{name}`" in field.metadata["help"]


def test_the_typed_keywords_are_the_options():
    typed = get_type_hints(Options)
    assert set(typed) == {*OPTIONS, *DATA_OPTIONS}
    wider = {"init": Init | tuple[Any, Any], "memory_limit": int | str | None, **dict.fromkeys(PENALTIES, Any)}
    assert {name: typed[name] for name in OPTIONS} == {name: of.type for name, of in OPTIONS.items()} | wider


def test_every_error_is_a_dnmf_error_and_of_the_matching_kind_in_python():
    import dnmf.errors

    kinds = [kind for kind in vars(dnmf.errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    for kind in kinds:
        assert issubclass(kind, DnmfError | Warning)
    assert issubclass(SettingsError, ValueError)
    assert issubclass(dnmf.errors.BudgetError, MemoryError)
    assert issubclass(dnmf.errors.ReadError, OSError)


def test_defaults_are_values_that_their_checks_return(monkeypatch):
    for name, of in OPTIONS.items():
        if of.default is not None:
            value = check(of, of.default)
            assert (value, type(value)) == (of.default, type(of.default)), name
    checked = []
    monkeypatch.setattr(dnmf.checks, "check", lambda of, given: checked.append(of.name) or given)
    Settings(rank=2, tol=1e-3)
    assert checked == ["rank", "tol"]
