"""The documentation site: `make docs`. The source folder is the repository's root, so that the
relative links of the pages work both here and on a code-hosting page."""

import re
from pathlib import Path
from typing import Any

import convtimenet

project = "convtimenet"
author = "The convtimenet developers"
copyright = "The convtimenet developers"
release = convtimenet.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "docs/**.rst", "examples/**.md", "benchmarks/**.md"]
exclude_patterns = [".cache", ".venv", "build", "dist", "demo-output", "**/.*"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
autodoc_typehints = "none"  # napoleon shows the types that the docstrings name
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": False, "show-inheritance": False}
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"convtimenet {release}"
html_copy_source = False

# Generated pages step from the first to the third level.
suppress_warnings = ["myst.header"]

_FOLDER = re.compile(r"\[([^\[\]]+)\]\(([^()\s:#]+)\)")


def folders(app: Any, docname: str, source: list[str]) -> None:
    """Links to a folder, which a site has no page for, lead to its README or become plain text."""
    here = Path(app.env.doc2path(docname)).parent

    def replace(link: re.Match[str]) -> str:
        if not (here / link[2]).is_dir():
            return link[0]
        page = f"{link[2].rstrip('/')}/README.md"
        return f"[{link[1]}]({page})" if (here / page).is_file() else link[1]

    source[0] = _FOLDER.sub(replace, source[0])


def routing(_app: Any, _what: str, name: str, *_: Any) -> bool | None:
    """scikit-learn generates these methods, with references into its own pages."""
    return True if re.fullmatch(r"set_\w+_request|get_metadata_routing", name) else None


def first_page(app: Any, error: Exception | None) -> None:
    """Browsers and servers look for a page at the root of the site, which leads to ours."""
    if error is None:
        text = (
            '<!doctype html><meta charset="utf-8"><title>convtimenet</title>'
            f'<meta http-equiv="refresh" content="0; url={root_doc}.html">'
            f'<a href="{root_doc}.html">convtimenet</a>'
        )
        (Path(app.outdir) / "index.html").write_text(text, encoding="utf-8")


def setup(app: Any) -> None:
    app.connect("build-finished", first_page)
    app.connect("autodoc-skip-member", routing)
    app.connect("source-read", folders)
