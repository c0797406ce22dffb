"""The metadata of a release: version, dependencies, citation; and the installed command."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import dnmf
from dnmf.cli.app import main

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == PROJECT["version"]
    assert (citation["title"].split(":")[0], citation["license"]) == (PROJECT["name"], PROJECT["license"])
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_changes_begin_with_this_version():
    newest = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == PROJECT["version"]


def test_the_package_is_marked_as_typed():
    assert Path(dnmf.__file__).with_name("py.typed").exists()


def test_the_oldest_dependencies_are_those_that_the_project_allows():
    oldest = runpy.run_path(str(ROOT / ".ci" / "oldest.py"))["oldest"](PROJECT)
    for requirement in PROJECT["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()
        assert oldest[name] == bound, f"{requirement}: an extra allows an older version"
    assert not any(name == "dnmf" for name in oldest)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_the_command(shell):
    def answer(act, **words):
        environment = {"_DNMF_COMPLETE": f"{shell}_{act}", **words}
        return CliRunner().invoke(main, env=environment, prog_name="dnmf").stdout

    def completed(*words):
        last = words[-1] if shell == "fish" else str(len(words))
        answered = answer("complete", COMP_WORDS=" ".join(["dnmf", *words]), COMP_CWORD=last)
        return answered.replace(",", "\n").split()

    assert f"_DNMF_COMPLETE={shell}_complete" in answer("source")
    assert "fit" in completed("f")
    assert {"--store", "--solver"} <= set(completed("fit", "--s"))
    assert {"newton", "nndsvd"} & set(completed("fit", "--solver", "n")) == {"newton"}
    assert "file" in completed("fit", "V")
    assert "file" in completed("fit", "V.zarr", "--store", "r")
