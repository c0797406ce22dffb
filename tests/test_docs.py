"""The pages of the documentation: their code runs, their links work, and they cover every public name."""

import re
from pathlib import Path

import pytest
from pages import run

import dnmf

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_and_prints_what_it_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page.read_text(), "python", "console", "text")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_work(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (DOCS / link).exists(), link
        assert (DOCS / link).parent == DOCS, f"{link} is not among the pages that Sphinx builds"


def test_every_public_name_is_in_the_api():
    api = (DOCS / "api.md").read_text()
    missing = [name for name in dnmf.__all__ if not name.startswith("_") and not re.search(rf"\b{name}\b", api)]
    assert not missing


def test_the_page_on_extending_imports_only_the_modules_that_it_names():
    page = (DOCS / "extending.md").read_text()
    imported = set(re.findall(r"^(?:from|import) (dnmf[\w.]*)", page, re.MULTILINE))
    assert imported == {"dnmf", "dnmf.errors", "dnmf.kernels.rule", "dnmf.sources"}
