"""The commands cluster-config and examples: files that come with the package, to adapt and to run."""

import re
from itertools import takewhile
from pathlib import Path

import click

from dnmf.cli.options import Command
from dnmf.cli.streams import notify
from dnmf.errors import StoreError, no_effect, unknown

# The module of the functions that the examples share, and the page of their pictures, which is not installed.
SHARED, PAGE = "gallery", "README"
OF_EXAMPLES = "Folder to write the examples to.  [default: examples]"


def files(folder: str) -> dict[str, Path]:
    """Return the files of a folder by their names without suffixes: in the package, or in a checkout next to it.

    >>> files("cluster_configs")["slurm"].name, files("examples")["topics"].name
    ('slurm.yaml', 'topics.py')
    """
    package = Path(__file__).parent.parent
    found = next(place for place in (package / folder, package.parent / folder) if place.is_dir())
    paths = sorted((path for path in found.iterdir() if path.is_file()), key=lambda path: path.name.lower())
    return {path.stem: path for path in paths}


def purpose(text: str) -> str:
    r'''Return the first sentence of the comment, docstring or heading that a file starts with.

    >>> purpose("#!/bin/sh\n# Workers as jobs. They\n# end.\nworkers: 2\n"), purpose('"""Topics.\n\nOf texts."""')
    ('Workers as jobs', 'Topics')
    '''
    if text.startswith('"""'):
        comment = text.removeprefix('"""').partition("\n\n")[0].replace("\n", " ")
    else:
        lines = (line for line in text.splitlines() if not line.startswith("#!"))
        comment = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    return re.split(r"[.:](?:\s|$|\")", comment)[0]


def show(found: dict[str, Path]) -> None:
    """Print the names and purposes of files."""
    formatter = click.get_current_context().make_formatter()
    formatter.write_dl([(name, purpose(path.read_text())) for name, path in found.items()])
    click.echo(formatter.getvalue(), nl=False)


def write(path: Path, text: str) -> None:
    """Write a new file; a file that already has this text stays."""
    from dnmf.storage.durable import explained

    with explained(f"The file {path}"):
        if path.exists():
            if path.read_text(errors="replace") == text:
                return
            raise StoreError(f"{path} already exists; choose another path with --out.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@click.command("cluster-config", cls=Command, imports=())
@click.argument("name", required=False)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Path of the new file, instead of stdout.")
def cluster_config(name: str | None, out: Path | None) -> None:
    """Print a file that describes a cluster.

    Without NAME, list the names of the files. Adapt the lines marked `edit` to your site, and pass the file to
    --cluster. README explains every file:

        dnmf cluster-config slurm > slurm.yaml

        dnmf fit V.zarr --rank 20 --store run.zarr --cluster slurm.yaml
    """
    found = files("cluster_configs")
    if name is None:
        if out is not None:
            raise no_effect("--out", str(out), "the file whose NAME is given")
        show(found)
        return
    if Path(name).stem not in found:
        raise unknown("NAME", name, found)
    text = found[Path(name).stem].read_text()
    if out is None:
        click.echo(text, nl=False)
    else:
        write(out, text)


@click.command(cls=Command, imports=())
@click.argument("names", nargs=-1)
@click.option("-o", "--out", type=click.Path(path_type=Path), help=OF_EXAMPLES)
def examples(names: tuple[str, ...], out: Path | None) -> None:
    """Write examples into a folder, to run and adapt.

    Without NAMES, list the examples. They draw pictures, which needs the extra `plot`:

        dnmf examples topics recommender

        python examples/topics.py
    """
    found = files("examples")
    shared, _ = found.pop(SHARED), found.pop(PAGE, None)
    if not names:
        if out is not None:
            raise no_effect("--out", str(out), "the examples whose NAMES are given")
        show(found)
        return
    out = Path("examples") if out is None else out
    for name in names:
        if Path(name).stem not in found:
            raise unknown("NAMES", name, found)
    chosen = [found[Path(name).stem] for name in names]
    linked = {name for path in chosen for name in re.findall(r"\]\((\w+)\.py\)", path.read_text())}
    for path in [shared, *chosen, *(found[name] for name in sorted(linked))]:
        write(out / path.name, path.read_text())
    for path in chosen:
        notify(f"Run it with: python {out / path.name}" if path.suffix == ".py" else f"Read {out / path.name}.")
