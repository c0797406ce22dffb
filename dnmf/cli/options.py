"""The options that commands share, made from the fields of `Settings`, and help that lists options in groups."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import Field
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import click
from click.shell_completion import CompletionItem

from dnmf import entry
from dnmf.checks import kind_of
from dnmf.choices import Axis, Preparation
from dnmf.cli.hints import explained, flag_of
from dnmf.cli.terminal import ARGUMENTS, exit_on_signals
from dnmf.settings import DATA_OPTIONS, OPTIONS, PENALTIES, Group

GROUPS = ("Options", *get_args(Group), "Cluster")
CLUSTER = {
    "scheduler": (str, "Address of the scheduler of a running cluster: tcp://… or tls://…."),
    "tls_ca_file": (click.Path(path_type=Path), "Certificate of the authority, for tls://."),
    "tls_cert": (click.Path(path_type=Path), "Certificate of this machine, for tls://."),
    "tls_key": (click.Path(path_type=Path), "Private key of this machine, for tls://."),
    "scheduler_file": (click.Path(path_type=Path), "File written by the scheduler of a running cluster."),
    "cluster": (click.Path(path_type=Path), "File that describes a cluster to start; see dnmf cluster-config."),
    "workers": (click.IntRange(min=1), "Number of worker processes to start on this machine."),
    "threads_per_worker": (click.IntRange(min=1), "Threads of each of these workers."),
    "worker_memory": (str, "Memory of each of these workers, such as 4GB."),
}

Function = Callable[..., Any]


# Options for data that are read whole from a .npy file.
ARRAYS = ("fixed_W", "fixed_H", "target_W", "target_H")


class Option(click.Option):
    """An option in a group of the help."""

    def __init__(self, *flags: Any, group: str = "Options", **attributes: Any) -> None:
        super().__init__(*flags, **attributes)
        self.group = group


class Command(click.Command):
    """A command whose help lists its options in groups, and that knows the names of other packages.

    `imports` are modules that are slow to import, without which the command can be described, but not run.
    """

    def __init__(self, *given: Any, imports: Sequence[str] = ("dnmf.api",), **attributes: Any) -> None:
        super().__init__(*given, **attributes)
        self.imports = imports

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; until all is imported, Ctrl-C ends the process at once."""
        for module in self.imports:
            import_module(module)
        entry.imported()
        with exit_on_signals():
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; errors propose what is meant."""
        ctx.meta[ARGUMENTS] = [*args]
        try:
            return super().parse_args(ctx, args)
        except (click.MissingParameter, click.NoSuchOption) as error:
            raise explained(error, ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group that has options."""
        rows: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                rows[getattr(parameter, "group", "Options")].append(record)
        for group, records in rows.items():
            if records:
                with formatter.section(group):
                    formatter.write_dl(records)


def option(*flags: str, group: str, **attributes: Any) -> Callable[[Function], Function]:
    """Give a command an option in a group of its help."""
    return click.option(*flags, cls=Option, group=group, **attributes)


def setting_options(*names: str, defaults: bool = True) -> Callable[[Function], Function]:
    """Give a command options by their names in `Settings`; the value is None for an option that is not given."""

    def add(function: Function) -> Function:
        for name in reversed(names):
            of, kind = OPTIONS[name], _type(OPTIONS[name])
            flag = f"{flag_of(name)}/{flag_of(f'no_{name}')}" if kind is bool else flag_of(name)
            text = of.metadata["help"].replace("`", "")
            if defaults and of.default is not None:
                text += f"  [default: {_shown(of)}]"
            metavar = of.metadata.get("metavar", "NAME") if kind is str else None
            chosen = {
                "type": LIST_OPTIONS.get(name, kind),
                "metavar": None if name in LIST_OPTIONS else metavar,
                "group": of.metadata["group"],
                "shell_complete": functools.partial(_starting, words=words_in(kind_of(of))),
            }
            function = option(flag, name, default=None, help=text, **chosen)(function)
        return function

    return add


def data_options(*names: str) -> Callable[[Function], Function]:
    """Give a command options for data that go along with the matrix."""

    def add(function: Function) -> Function:
        for name in reversed(names):
            kind = click.Path(exists=True) if name in ARRAYS else PathOrUrl()
            text = DATA_OPTIONS[name] + (" A .npy file." if name in ARRAYS else "")
            function = option(flag_of(name), name, type=kind, metavar="PATH", help=text, group="Data")(function)
        return function

    return add


def matrix_options(function: Function) -> Function:
    """Give a command the options that prepare and name its matrix, which it gets as `steps`, `samples` and names."""
    function = data_options("row_names", "column_names")(function)
    axes = click.Choice(get_args(Axis))
    text = "Axis of the samples, for --prepare.  [default: rows]"
    function = option("--samples", type=axes, help=text, group="Data")(function)
    steps = click.Choice(get_args(Preparation))
    text = "Preprocessing step; may be repeated."
    return option("--prepare", "steps", multiple=True, type=steps, help=text, group="Data")(function)


class PathOrUrl(click.ParamType):  # type: ignore[type-arg]  # as Numbers
    """A path, a URL or an address; a shell completes the names of files."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Let the shell complete the name of a file."""
        return [CompletionItem(incomplete, type="file")]


def moved_matrix(function: Function) -> Function:
    """Give a command the option for a matrix that has moved since its run or survey."""
    text = "The matrix, if it has moved; repeat it for joined ones."
    return option("--matrix", type=PathOrUrl(), multiple=True, help=text, group="Data")(function)


class Numbers(click.ParamType):  # type: ignore[type-arg]  # it takes none before click 8.4
    """A number, or several with commas between them: `0.1` or `0.1,0,2`; or one of some words."""

    name = "NUMBER[,…]"

    def __init__(
        self, kind: type = float, advice: str = "one for every component, as 0.1,0,2", words: Any = ()
    ) -> None:
        self.kind, self.advice, self.words = kind, advice, words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number or the list."""
        if not isinstance(value, str) or value in self.words:
            return value
        try:
            numbers = [self.kind(part) for part in value.split(",")]
        except ValueError:
            given = "".join(f"{word}, " for word in self.words)
            self.fail(f"{value!r} is not allowed; give {given}a number, or {self.advice}.", param, ctx)
        return numbers if len(numbers) > 1 else numbers[0]


RANK = Numbers(int, "the ranks of several layers, as 100,49,25")
LIST_OPTIONS = {
    **dict.fromkeys(PENALTIES, Numbers()),
    "graph_weight": Numbers(float, "those of graph_W and graph_H, as 0.3,10"),
    "layer_weights": Numbers(float, "one for every layer, as 1,0.5,0.5", ("greedy",)),
}


def layer_option(function: Function) -> Function:
    """Give a command the option that chooses a layer of a run of several."""
    text = "Number of a layer, from 1 on, of a run of several; by default the last one."
    return click.option("--layer", type=click.IntRange(min=1), help=text)(function)


def layer_of(store: str, layer: int | None) -> Any:
    """Return the result of a layer of the run in a store, or the store for the last one."""
    if layer is None:
        return store
    import dnmf

    layers = dnmf.load(store).layers
    if layer > len(layers):
        has = f"{len(layers)} layers" if layers else "one layer"
        raise click.BadParameter(
            f"{store} has {has}; leave --layer out, or give a smaller number.", param_hint="--layer"
        )
    return layers[layer - 1]


def words_in(kind: Any) -> list[str]:
    """Return the words that a `Literal`, or a union with one, allows.

    >>> from typing import Literal
    >>> words_in(Literal["auto", "none"] | float)
    ['auto', 'none']
    """
    return [word for one in get_args(kind) for word in ([one] if isinstance(one, str) else words_in(one))]


def _starting(ctx: click.Context, param: click.Parameter, incomplete: str, words: list[str]) -> list[str]:
    """Return the words that start as the one that a shell completes."""
    return [word for word in words if word.startswith(incomplete)]


def json_option(text: str) -> Callable[[Function], Function]:
    """Give a command the option that makes its output JSON."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def cluster_options(function: Function) -> Function:
    """Give a command the options that choose a cluster, which it gets as one mapping, `where`."""

    @functools.wraps(function)
    def gathered(**options: Any) -> Any:
        where = {name: options.pop(name) for name in CLUSTER}
        return function(where=given(where), **options)

    command: Function = gathered
    for name, (kind, text) in reversed(CLUSTER.items()):
        metavar = "SIZE" if name == "worker_memory" else None
        command = option(flag_of(name), name, type=kind, metavar=metavar, help=text, group="Cluster")(command)
    return command


def parse_sizes(flag: str, text: str | None, example: str) -> Any:
    """Return whole numbers given as text with commas or an x between them, or None.

    >>> parse_sizes("--shape", "16x16x3", "28x28"), parse_sizes("--chunks", "2000,1000", "2000,1000")
    ((16, 16, 3), (2000, 1000))
    """
    try:
        return None if text is None else tuple(int(part) for part in re.split("[,x×]", text.lower()))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a shape; give sizes such as {example}.", param_hint=flag) from None


def _type(of: Field[Any]) -> type:
    """Return the type of an option on a command line; a number with a placeholder is a text there."""
    kind = kind_of(of)
    return kind if kind in (bool, int, float) and "metavar" not in of.metadata else str


def _shown(of: Field[Any]) -> str:
    """Return the default of an option as the help shows it."""
    if of.type is bool:
        return of.name if of.default else f"no-{of.name}"
    return f"{of.default:g}" if isinstance(of.default, float) else str(of.default)
