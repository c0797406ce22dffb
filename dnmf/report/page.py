"""Pages from templates: one file that needs no network, in which only its own script can run."""

import base64
import functools
import hashlib
from importlib.metadata import version
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from dnmf.engine.plan import amount
from dnmf.inspection.html import templates
from dnmf.inspection.numbers import duration, number, percent, shortened
from dnmf.report.images import picture
from dnmf.report.svg import draw, small_curve

# A cell of a table: a text, or a text with the number that it rounds.
Cell = str | tuple[str, float | None]


class Tile(NamedTuple):
    """A number at the top of a page, with a note below it."""

    name: str
    value: str
    note: str = ""


def render(template: str, **values: Any) -> str:
    """Return a page, whose policy admits its own style and script only."""
    folder = files("dnmf.report").joinpath("templates")
    style, script = (folder.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = environment().get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=policy, version=version("dnmf"), **values)


@functools.cache
def environment() -> Environment:
    """Return the templates of the pages, with the functions that they call."""
    pages = templates("dnmf.report")
    pages.globals |= {"draw": draw, "picture": picture, "small_curve": small_curve}
    filters = (amount, duration, number, percent, shortened)
    pages.filters |= {"count": "{:,}".format, **{function.__name__: function for function in filters}}
    return pages


def _digest(content: str) -> str:
    """Return the source by which a policy admits a style or a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
