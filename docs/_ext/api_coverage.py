"""Fail the build when a public name has no docstring or appears on no page of `api/`.

Public are the names that the `__init__.py` of `probinf` and of its public subpackages export: those
in `__all__`, or else those re-exported as `from x import A as A` and those defined there. A module
re-exported this way is public too, with all the public names that it defines.
"""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

API_PAGES = "api/"
logger = logging.getLogger(__name__)


def exported_names(module: ModuleType) -> list[str]:
    """Return the public names of one module, in the order of its source."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    names = []
    nodes = ast.parse(inspect.getsource(module)).body
    for node in [n for top in nodes for n in (top.body if isinstance(top, ast.If) else [top])]:
        if isinstance(node, ast.ImportFrom | ast.Import):
            names += [alias.asname for alias in node.names if alias.asname == alias.name]
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
    return [name for name in names if not name.startswith("_")]


def public_modules(root: ModuleType) -> dict[str, ModuleType]:
    """Return the package, its public subpackages and the modules that these re-export, by name."""
    modules: dict[str, ModuleType] = {}
    queue = [root]
    while queue:
        module = queue.pop()
        if module.__name__ in modules:
            continue
        modules[module.__name__] = module
        for info in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
            if info.ispkg and not info.name.rpartition(".")[2].startswith("_"):
                queue.append(importlib.import_module(info.name))
        exported = [getattr(module, name, None) for name in exported_names(module)]
        queue += [
            item
            for item in exported
            if inspect.ismodule(item) and item.__name__.startswith(f"{root.__name__}.")
        ]
    return modules


def has_docstring(item: Any) -> bool:
    """Tell whether the thing itself says what it is; inherited and generated texts do not count."""
    if inspect.isclass(item):
        text = vars(item).get("__doc__") or ""
        generated = dataclasses.is_dataclass(item) or hasattr(item, "_fields")
        if generated and text.startswith(f"{item.__name__}("):
            return False
        return bool(text.strip())
    if callable(item) or inspect.ismodule(item):
        return bool((getattr(item, "__doc__", None) or "").strip())
    return True  # a constant or a type alias: its page must say what it is


def resolve(name: str) -> Any:
    """Return the object with this dotted name, or None; a name hides a module spelled alike."""
    root, *parts = name.split(".")
    try:
        item: Any = importlib.import_module(root)
    except ImportError:
        return None
    for part in parts:
        if not hasattr(item, part) and inspect.ismodule(item):
            try:
                importlib.import_module(f"{item.__name__}.{part}")
            except ImportError:
                return None
        item = getattr(item, part, None)
    return item


def problems(root: ModuleType, documented: set[str]) -> Iterator[str]:
    """Yield a sentence for each public name that lacks a docstring or an API page."""
    # One object may be documented under another of its names. The list keeps the ids valid.
    documented_items = [item for item in map(resolve, documented) if callable(item)]
    documented_ids = {id(item) for item in documented_items}
    seen = set()
    for module in public_modules(root).values():
        if not has_docstring(module):
            yield f"{module.__name__}: the module has no docstring"
        for name in exported_names(module):
            full_name = f"{module.__name__}.{name}"
            if not hasattr(module, name):
                yield f"{full_name}: exported, but not there"
                continue
            item = getattr(module, name)
            if inspect.ismodule(item) or (callable(item) and id(item) in seen):
                continue
            seen.add(id(item))
            if not has_docstring(item):
                yield f"{full_name}: no docstring"
            if full_name not in documented and id(item) not in documented_ids:
                kind = "class" if inspect.isclass(item) else "function"
                kind = kind if callable(item) else "data"
                yield f"{full_name}: on no API page; add `.. auto{kind}:: {full_name}`"


def check(app: Sphinx, error: Exception | None) -> None:
    """Compare what is public with what the API pages describe."""
    if error is not None:
        return
    objects = app.env.domains["py"].data["objects"]
    documented = {name for name, entry in objects.items() if entry.docname.startswith(API_PAGES)}
    for problem in problems(importlib.import_module(app.config.api_coverage_package), documented):
        logger.error(problem)
        app.statuscode = 1  # with or without -W


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the check; it runs at the end of every build, also of one that read no page."""
    app.add_config_value("api_coverage_package", "probinf", "env")
    app.connect("build-finished", check)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
