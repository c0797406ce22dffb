"""HTML and SVG that is well formed, and text for terminals, in which no name or path becomes more than text."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from dnmf.errors import seen

VOID = ("meta", "input", "img", "br", "link")


class Markup(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


def tag(name: str, /, *content: Any, **attributes: Any) -> Markup:
    """Return an element; whatever of its content is no `Markup` is escaped, and so are the attributes.

    An underscore in the name of an attribute is a hyphen, and one at its end is dropped; those that are None or False
    are left out.

    Examples
    --------
    >>> print(tag("p", "a < b ", tag("b", "!"), class_="note", aria_label='"x"', hidden=None))
    <p class="note" aria-label="&quot;x&quot;">a &lt; b <b>!</b></p>
    """
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{given}>" if name in VOID else f"<{name}{given}>{join(content)}</{name}>")


def join(parts: Iterable[Any], between: str = "") -> Markup:
    """Return parts one after the other, escaped where they are not markup."""
    return Markup(between.join(part if isinstance(part, Markup) else text(part) for part in parts))


def text(given: Any) -> Markup:
    r"""Return anything as text in HTML, with what cannot be seen written out.

    >>> print(text("<script>\x00é"))
    &lt;script&gt;\x00é
    """
    return Markup(escape(seen(str(given))))


def card(title: str, facts: Mapping[str, str]) -> str:
    """Return a small table for a notebook: a title, and what is known.

    >>> card("run.zarr", {"rank": "3"}).count("<tr>")
    1
    """
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row", style="text-align:left;font-weight:600;vertical-align:top"),
            tag("td", value, style="text-align:left;overflow-wrap:anywhere"),
        )
        for name, value in facts.items()
    ]
    caption = tag("caption", title, style="text-align:left;font-weight:600;caption-side:top;color:inherit")
    return str(tag("table", caption, tag("tbody", *rows)))
