"""The page: one file that needs no network, in which nothing but its own script can run."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any, NamedTuple

from dnmf.inspection.html import Markup, join, tag


class Section(NamedTuple):
    """A part of the page: where links lead, its heading, and what is in it."""

    name: str
    title: str
    body: Markup


class Tile(NamedTuple):
    """A figure at the top of the page, with a few words below it."""

    name: str
    value: str
    words: str = ""


def page(title: str, kind: str, verdict: Markup, tiles: Sequence[Tile], sections: Sequence[Section]) -> str:
    """Return the whole page."""
    style, script = (files("dnmf.report").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src {hashed(style)}; script-src {hashed(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{title} · {kind}"),
        tag("style", Markup(style)),
    )
    links = [tag("li", tag("a", section.title, href=f"#{section.name}")) for section in sections]
    top = tag(
        "header",
        tag("div", tag("div", tag("p", kind, class_="eyebrow"), tag("h1", title)), class_="row", id="top"),
        verdict,
        tag("dl", *[_tile(tile) for tile in tiles], class_="tiles"),
        tag("nav", tag("ul", *links), aria_label="Sections"),
    )
    main = tag(
        "main",
        *[
            tag(
                "section",
                tag("h2", one.title, id=f"{one.name}-title"),
                one.body,
                id=one.name,
                aria_labelledby=f"{one.name}-title",
            )
            for one in sections
        ],
        id="main",
    )
    foot = tag("footer", tag("p", f"Written by dnmf {version('dnmf')}. This page is one file and loads nothing."))
    skip = tag("a", "Skip to the report", href="#main", class_="skip")
    body = tag("body", skip, top, main, foot, tag("script", Markup(script)))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def hashed(content: str) -> str:
    """Return what a policy calls a style or a script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def figure(name: str, content: Markup, caption: Any = None, title: str | None = None) -> Markup:
    """Return a figure that can be downloaded by its name."""
    head = tag("h3", title) if title else Markup()
    foot = tag("figcaption", caption) if caption else Markup()
    return tag("figure", head, content, foot, data_name=name)


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], **attributes: Any) -> Markup:
    """Return a table; the first cell of every row is its head. A cell may be words and the value that they round."""
    head = tag("thead", tag("tr", *[tag("th", words, scope="col") for words in heads]))
    body = [tag("tr", *[_cell(cell, place == 0) for place, cell in enumerate(row)]) for row in rows]
    whole = tag("table", tag("caption", caption), head, tag("tbody", *body), **attributes)
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _cell(given: Any, first: bool) -> Markup:
    words, value = given if isinstance(given, tuple) else (given, None)
    name, scope = ("th", "row") if first else ("td", None)
    return tag(name, words, scope=scope, data_value=None if value is None else repr(value))


def facts(caption: str, rows: Mapping[str, Any]) -> Markup:
    """Return what is known, a line to each."""
    lines = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows.items()]
    return tag("table", tag("caption", caption), tag("tbody", *lines), class_="facts")


def more(words: str, *content: Any) -> Markup:
    """Return what is shown when it is asked for."""
    return tag("details", tag("summary", words), *content)


def note(words: Any) -> Markup:
    """Return a remark."""
    return tag("p", words, class_="note soft")


def command(text: str) -> Markup:
    """Return what can be typed as it is."""
    return tag("pre", tag("code", text))


def _tile(tile: Tile) -> Markup:
    words = tag("small", tile.words) if tile.words else ""
    return tag("div", tag("dt", tile.name), tag("dd", tile.value, words), class_="tile")


def paragraphs(*sentences: Any) -> Markup:
    """Return a paragraph of each."""
    return join(tag("p", one) for one in sentences if one)
