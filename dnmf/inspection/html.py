"""HTML in which no name or path becomes more than text."""

import functools
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dnmf.errors import seen


@functools.cache
def templates(package: str) -> Environment:
    r"""Return the templates of a package, which escape HTML and control characters in every value.

    >>> print(templates("dnmf.inspection").from_string("<b>{{ name }}</b>").render(name="<i>\x00é"))
    <b>&lt;i&gt;\x00é</b>
    """
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=_escape_controls,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _escape_controls(value: Any) -> Any:
    return value if hasattr(value, "__html__") else seen(str(value))


def card(title: str, facts: Mapping[str, str]) -> str:
    """Return a small table for a notebook, with a title and a row for each fact.

    >>> card("run.zarr", {"rank": "3"}).count("<tr>")
    1
    """
    return templates("dnmf.inspection").get_template("card.html").render(title=title, facts=facts)
