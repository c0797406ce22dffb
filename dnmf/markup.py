"""HTML and SVG that is well formed, and text for terminals, in which no name or path becomes more than text."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

VOID = ("meta", "input", "img", "br", "link")
# What no browser shows as it is, and what moves the cursor of a terminal: controls, and signs that turn the direction
# of the text around them.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


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


def seen(given: str) -> str:
    r"""Return a text with what cannot be seen in it written out: names and paths of a store may be anybody's.

    >>> print(seen("a \x1b[2J b"))
    a \x1b[2J b
    """
    return UNSEEN.sub(lambda sign: ascii(sign[0])[1:-1], given)


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
