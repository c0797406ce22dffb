"""How Sphinx makes the pages; `make docs` calls it."""

import sys
import tomllib
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

project = "dnmf"
author = "the dnmf developers"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# Names in single backquotes are linked where they are of the package, and set as code where they are not.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"dnmf {release}"
html_copy_source = False
html_math_renderer = "mathml"


def setup(app):
    """Write formulas as MathML, which browsers render without scripts and without a network."""
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))


def write_formula(writer, node):
    """Write a formula in the text or a displayed one."""
    writer.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode
