"""The command cluster-config: files that describe clusters, to adapt to a site."""

import re
from itertools import takewhile
from pathlib import Path

import click

from dnmf.cli.options import Command
from dnmf.errors import StoreError, unknown


def folder() -> Path:
    """Return the folder of the files: in the package, or in a checkout next to it."""
    package = Path(__file__).parent.parent
    installed = package / "cluster_configs"
    return installed if installed.is_dir() else package.parent / "cluster_configs"


def files() -> dict[str, Path]:
    """Return the files by their names without suffixes.

    >>> files()["slurm"].name
    'slurm.yaml'
    """
    return {path.stem: path for path in sorted(folder().iterdir(), key=lambda path: path.name.lower())}


def purpose(text: str) -> str:
    r"""Return the first sentence of the comment that a file starts with.

    >>> purpose("#!/bin/sh\n# Workers as jobs. They\n# end.\nworkers: 2\n")
    'Workers as jobs'
    """
    lines = (line for line in text.splitlines() if not line.startswith("#!"))
    comment = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    return re.split(r"[.:](?:\s|$)", comment)[0]


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
    found = files()
    if name is None:
        for known, path in found.items():
            click.echo(f"{known:<20}{purpose(path.read_text())}")
        return
    if Path(name).stem not in found:
        raise unknown("NAME", name, found)
    text = found[Path(name).stem].read_text()
    if out is None:
        click.echo(text, nl=False)
        return
    if out.exists():
        raise StoreError(f"{out} already exists; choose another path.")
    from dnmf.storage.durable import explained

    with explained(f"The file {out}"):
        out.write_text(text)
