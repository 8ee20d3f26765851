"""Sphinx configuration. Every page is executed, and every public name must be documented."""

import hashlib
import importlib.metadata
import os
import re
import sys
from pathlib import Path

from jaxtyping import set_array_name_format
from sphinx.util.logging import getLogger
from sphinx.util.parallel import make_chunks

# Pages run side by side: threads of linear algebra would wait in turns for the same cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("MPLBACKEND", None)  # kernels show pictures by the backend that they choose

here = Path(__file__).parent
sys.path.insert(0, str(here / "_ext"))

project = "probinf"
author = "The probinf developers"
copyright = "The probinf developers"
version = release = importlib.metadata.version("probinf")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "api_coverage",
    "kernels",
]
exclude_patterns = ["_build", "jupyter_execute"]

# --- pages


def source_digest() -> str:
    """Digest of all that the output of a page depends on besides the page itself."""
    digest = hashlib.sha256()
    for path in sorted((here.parent / "probinf").rglob("*.py")):
        digest.update(path.read_bytes())
    for package in ("jax", "numpyro", "blackjax"):
        digest.update(importlib.metadata.version(package).encode())
    return digest.hexdigest()[:16]


myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
# The cache keys an output on the page alone; this keys it on the package as well.
nb_execution_cache_path = str(here / "_build" / "jupyter_cache" / source_digest())
# A page that fails is a warning, with the line that failed; `sphinx-build -W` makes it an error.
# Raised at once, it would stop a parallel build before that line is printed.
nb_execution_raise_on_error = False
nb_execution_show_tb = True
nb_execution_timeout = 900  # of a cell, beside others and on slower machines
nb_merge_streams = True
nb_output_stderr = "remove"  # progress, and warnings with paths; pages print what counts
nb_render_markdown_format = "myst"  # of outputs; the default, CommonMark, knows no tables

# --- API

autosummary_generate = False
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# `Attributes:` in a dataclass's docstring describes the fields; do not list them a second time.
napoleon_use_ivar = True
napoleon_numpy_docstring = False

set_array_name_format("array")  # Float[Array, "n"] instead of where the array class lives


def skip_generated(app, what, name, item, skip, options):
    """Leave out what others have written texts for.

    A NamedTuple's fields, which say "Alias for field number 0", and what scikit-learn adds for
    the routing of metadata, which points to its own pages.
    """
    routing = name.startswith("set_") and name.endswith("_request")
    return True if routing or type(item).__name__ == "_tuplegetter" else None


def in_even_parts(app, env, docnames):
    """Deal pages that are executed out to the parts that Sphinx reads side by side.

    Sphinx cuts the list into parts of one length and gives them to its processes in turn: in
    alphabetical order the last part, which one process reads while the others have nothing left
    to do, takes as long as any. Here all parts but the last compute alike, and the last does not.
    """
    size = len(make_chunks(docnames, app.parallel)[0]) if docnames else 0
    whole = len(docnames) // size if size else 0
    executed = [name for name in docnames if "kernelspec" in env.doc2path(name).read_text()[:200]]
    others = [name for name in docnames if name not in executed]
    dealt = []
    for k in range(whole):
        part = executed[k::whole][:size]
        free = size - len(part)
        dealt += part + others[:free]
        others = others[free:]
    docnames[:] = dealt + [name for name in docnames if name not in dealt]


def look_at_page(app, pagename, templatename, context, doctree):
    """Warn of a table that is shown as the text it was written in, and of pictures that are not."""
    body = context.get("body", "")
    shown = re.sub(r"<(pre|code).*?</\1>", "", body, flags=re.DOTALL)
    if re.search(r"\|\s*:?(-{2,}|[–—]+)-?:?\s*\|", shown):
        getLogger(__name__).warning("a table is shown as text", location=pagename)
    draws = "matplotlib.pyplot" in re.sub("<[^>]*>", "", body) and not pagename.startswith("_")
    if draws and "<img" not in body:
        getLogger(__name__).warning("pictures are drawn, none is shown", location=pagename)


def setup(app):
    """Connect what is defined above."""
    app.connect("autodoc-skip-member", skip_generated)
    app.connect("env-before-read-docs", in_even_parts)
    app.connect("html-page-context", look_at_page)


copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

# --- HTML

html_theme = "furo"
html_title = f"probinf {release}"
