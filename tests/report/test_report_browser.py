"""Reports in a browser: they fit a phone, follow light and dark, go by keyboard, and their figures can be saved."""

import numpy as np
import pytest
from browser import FOUND, Browser
from runs import until

import dnmf
from dnmf.report import write_report

pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(FOUND is None, reason="needs chromium, of the package of that name"),
]
LOOKS = {"names": {}, "images": {"shape": (12, 10)}, "curves": {"axis": "columns"}}
# Elements that reach beyond the right edge, except within elements that scroll.
WIDE = """
[...document.querySelectorAll("body *")]
  .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll, .skip"))
  .map((one) => one.outerHTML.slice(0, 80))
"""
# The least contrast of a text with its background, as the ratio of WCAG.
CONTRAST = """
(() => {
  const light = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map(Number).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const below = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? below(one.parentElement) : colour;
  };
  const ratios = [...document.querySelectorAll("p, td, th, a, button, figcaption, dt, dd, h2, h3, summary, svg text")]
    .map((one) => {
      const style = getComputedStyle(one), ink = one.namespaceURI.endsWith("svg") ? style.fill : style.color;
      const [high, low] = [light(ink), light(below(one))].sort((a, b) => b - a);
      return (high + 0.05) / (low + 0.05);
    });
  return Math.min(...ratios);
})()
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Write a page of every look, and one of a survey."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    V = (rng.random((120, 3)) ** 3 @ rng.random((3, 300)) ** 3 + 0.01 * rng.random((120, 300))).astype(np.float32)
    names = [f"gene{'-with-a-long-name' * (place % 3)}-{place}" for place in range(120)]
    result = dnmf.factorize(V, 3, max_passes=5, solver="hals", init="random", tol=0, row_names=names)
    for look, options in LOOKS.items():
        write_report(result, folder / f"{look}.html", V, **options)
    survey = dnmf.select_rank(V, [2, 3, 4], n_runs=3, cv=2, sample=60)
    write_report(survey, folder / "survey.html")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.mark.parametrize("page", [*LOOKS, "survey"])
def test_a_page_fits_a_phone_and_follows_light_and_dark(page, pages, browser):
    seen = []
    for dark in (False, True):
        for width in (390, 1200):
            browser.open(pages / f"{page}.html", width, dark=dark)
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert browser.run(WIDE) == []
            assert browser.run(CONTRAST) >= 4.5
        seen.append(browser.run("getComputedStyle(document.body).backgroundColor"))
        assert browser.events("Runtime.exceptionThrown", "Log.entryAdded") == []
        urls = [event["request"]["url"].partition(":")[0] for event in browser.events("Network.requestWillBeSent")]
        assert set(urls) <= {"file", "data"}
    assert seen[0] != seen[1]


def test_a_page_goes_by_keyboard(pages, browser):
    browser.open(pages / "names.html")
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "Skip to the report"
    browser.run("document.querySelector('figure[data-name=optimality] svg').focus()")
    texts = []
    for key in ("ArrowRight", "ArrowRight", "End", "Home"):
        browser.press(key)
        texts.append(browser.run("document.querySelector('figure[data-name=optimality] output').textContent"))
    assert texts[0].startswith("pass 1: ")
    assert texts[1].startswith("pass 2: ")
    assert texts[2].startswith("pass 5: ")
    assert texts[3] == texts[0]
    browser.run("document.getElementById('theme').click()")
    browser.run("document.getElementById('theme').click()")
    assert browser.run("getComputedStyle(document.documentElement).colorScheme") == "dark"


@pytest.mark.parametrize(
    ("page", "figure", "kind", "first"),
    [
        ("names", "optimality", "SVG", b"<svg "),
        ("names", "optimality", "PNG", b"\x89PNG"),
        ("names", "NMF_1", "CSV", b"gene"),
        ("images", "NMF_2", "PNG", b"\x89PNG"),
        ("survey", "consensus", "PNG", b"\x89PNG"),
    ],
)
def test_figures_can_be_saved(page, figure, kind, first, pages, browser):
    browser.open(pages / f"{page}.html")
    chosen = f"document.querySelector('figure[data-name={figure}]')"
    browser.run(f"[...{chosen}.querySelectorAll('button')].find((one) => one.textContent === '{kind}').click()")
    begun = browser.event("Browser.downloadWillBegin")
    assert begun["suggestedFilename"] == f"{figure}.{kind.lower()}"
    saved = browser.folder / begun["suggestedFilename"]
    assert until(lambda: saved.exists() and saved.read_bytes())
    content = saved.read_bytes()
    saved.unlink()
    assert content.startswith(first)
    if kind == "SVG":
        assert b"var(" not in content
        assert b'xmlns="http://www.w3.org/2000/svg"' in content
    if kind == "CSV":
        assert len(content.splitlines()) == 8


def test_a_page_is_drawn(pages, browser, tmp_path):
    browser.open(pages / "images.html", dark=True)
    browser.picture(tmp_path / "page.png")
    assert len((tmp_path / "page.png").read_bytes()) > 50_000
