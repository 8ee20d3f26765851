"""Fingerprints: what a program or method consists of, by name, the same in every process."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import site
import sys
import sysconfig
import types
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from probinf.runtime.loop import to_host

_SHOWN = 40  # characters up to which a part is kept as it is
_PARTS = 20_000  # beyond which an object is known by its class alone
_ARGUMENT = r"^.*\.arguments\[['\"](.*)['\"]\]$"  # of a model, among the data of its program
_PATHS = {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_INSTALLED = tuple({*_PATHS, *site.getsitepackages(), site.getusersitepackages(), "<frozen"})
_DERIVED = (functools.cached_property, property)
_HOUSEKEEPING = {"__module__", "__doc__", "__dict__", "__weakref__", "__qualname__"} | {
    "__annotations__",
    "__firstlineno__",
    "__static_attributes__",
    "__dataclass_fields__",
    "__annotations_cache__",
}


def fingerprint(value: Any, name: str) -> dict[str, str]:
    """The parts of a value by name: short ones as text, others as checksums.

    Arrays count by type, shape and every value; functions by their compiled code, defaults, what
    they close over and the globals they use, installed packages by name; NumPyro distributions
    by their fields. Names of variables inside functions, comments and where the code lies do
    not count.
    """
    found: dict[str, str] = {}
    for path, content in _Walk().parts(value, name):
        named, k = re.sub(_ARGUMENT, r"the values of argument \1", path), 2
        while named in found:
            named, k = f"{path} ({k})", k + 1
        found[named] = _short(content)
    return found


def differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What is not the same, in words."""
    found = []
    for path in sorted(set(before) | set(now)):
        old, new = before.get(path), now.get(path)
        if old == new:
            continue
        if old is None or new is None:
            found.append(f"{path} is {'new' if old is None else 'gone'}")
        elif len(old) + len(new) <= 2 * _SHOWN and not _is_digest(old) and not _is_digest(new):
            found.append(f"{path} was {old}, is {new}")
        else:
            found.append(f"{path} changed")
    return found


def _short(content: bytes | str) -> str:
    if isinstance(content, str) and len(content) <= _SHOWN:
        return content
    raw = content.encode() if isinstance(content, str) else content
    return f"sha256:{hashlib.sha256(raw).hexdigest()[:24]}"


def _is_digest(text: str) -> bool:
    return text.startswith("sha256:")


def _installed(value: Any) -> bool:
    """Whether code is part of an installed package, of Python, or of probinf."""
    module = getattr(value, "__module__", None) or getattr(value, "__name__", None) or ""
    root = str(module).split(".")[0]
    if root in sys.builtin_module_names or root == __name__.split(".")[0]:
        return True
    file = getattr(sys.modules.get(str(module)), "__file__", None)
    if isinstance(value, types.FunctionType):
        file = value.__code__.co_filename
    return root != "__main__" and file is not None and file.startswith(_INSTALLED)


class _Walk:
    """One walk through an object; what is met again is not described again."""

    def __init__(self) -> None:
        self.met: dict[int, Any] = {}
        self.count = 0

    def parts(self, value: Any, path: str) -> Iterator[tuple[str, bytes | str]]:
        """Every part with its path."""
        self.count += 1
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | slice):
            yield path, repr(value)
        elif isinstance(value, np.dtype | np.generic):
            yield path, f"{type(value).__name__} {value!r}"
        elif isinstance(value, np.ndarray | jax.Array):
            yield from self._array(value, path)
        elif isinstance(value, dict):
            for key in sorted(value, key=repr):
                yield from self.parts(value[key], f"{path}[{key!r}]")
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            for field in value._fields:
                yield from self.parts(getattr(value, field), f"{path}.{field}")
        elif isinstance(value, list | tuple):
            yield path, f"{type(value).__name__} of {len(value)}"
            for k, inner in enumerate(value):
                yield from self.parts(inner, f"{path}[{k}]")
        elif isinstance(value, set | frozenset):
            inner = [repr(list(_Walk().parts(v, ""))) for v in value]
            yield path, f"{type(value).__name__} {sorted(inner)}"
        elif id(value) not in self.met:
            self.met[id(value)] = value
            yield from self._object(value, path)

    def _array(self, value: Any, path: str) -> Iterator[tuple[str, bytes | str]]:
        if isinstance(value, jax.core.Tracer):
            yield path, f"traced {value.dtype}{value.shape}"
            return
        host = to_host(value)
        if host.dtype == object:
            yield from self.parts(host.tolist(), path)
            return
        yield path, f"{host.dtype}{host.shape}".encode() + np.ascontiguousarray(host).tobytes()

    def _object(self, value: Any, path: str) -> Iterator[tuple[str, bytes | str]]:
        kind = type(value)
        if isinstance(value, types.ModuleType):
            yield path, f"module {value.__name__}"
        elif isinstance(value, type):
            yield from self._class(value, path)
        elif isinstance(value, types.FunctionType):
            yield from self._function(value, path)
        elif isinstance(value, types.MethodType):
            yield from self.parts(value.__func__, path)
            yield from self.parts(value.__self__, f"{path}'s object")
        elif isinstance(value, functools.partial):
            yield from self.parts(value.func, path)
            yield from self.parts((value.args, value.keywords), f"{path}'s arguments")
        elif callable(value) and hasattr(value, "__wrapped__"):
            yield from self.parts(value.__wrapped__, path)  # of jax.jit, or a NumPyro handler
            for field in sorted(name for name in vars(value) if not name.startswith("__")):
                yield from self.parts(vars(value)[field], f"{path}.{field}")
        elif hasattr(value, "to_numpy"):  # data frames and series
            yield from self.parts(list(getattr(value, "columns", ())), f"{path}.columns")
            yield from self.parts(value.to_numpy(), path)
        elif hasattr(kind, "gather_pytree_data_fields"):  # a distribution
            fields = {*kind.gather_pytree_data_fields(), *kind.gather_pytree_aux_fields()}
            yield path, kind.__name__
            yield from self.parts(kind, f"the class {kind.__name__}")
            for field in sorted(fields - {"_validate_args"}):
                yield from self.parts(vars(value).get(field), f"{path}.{field}")
        elif isinstance(value, jax.tree_util.PyTreeDef):
            yield path, str(value)
        elif self.count < _PARTS and hasattr(value, "__dict__"):
            yield from self._instance(value, path)
        else:
            text = repr(value)
            yield path, kind.__qualname__ if " at 0x" in text else text

    def _instance(self, value: Any, path: str) -> Iterator[tuple[str, bytes | str]]:
        kind = type(value)
        yield path, kind.__qualname__
        if not _installed(kind):
            yield from self.parts(kind, f"{path}'s class")
        if callable(getattr(value, "parts", None)) and _installed(kind):  # a model of a front
            for name, inner in value.parts().items():
                yield from self.parts(inner, f"the model's {name}" if name != "model" else name)
            return
        for field in sorted(getattr(value, "__dict__", ())):
            derived = isinstance(inspect.getattr_static(kind, field, None), _DERIVED)
            if derived or field == "_inv":  # a transform remembers its inverse
                continue
            yield from self.parts(vars(value)[field], f"{path}.{field}")

    def _class(self, value: type, path: str) -> Iterator[tuple[str, bytes | str]]:
        yield path, value.__qualname__
        if _installed(value):
            return
        for base in value.__bases__:
            yield from self.parts(base, f"{path}'s base {base.__name__}")
        for name in sorted(set(vars(value)) - _HOUSEKEEPING):
            inner = vars(value)[name]
            inner = getattr(inner, "__func__", getattr(inner, "fget", inner))
            if not inspect.isdatadescriptor(inner):
                yield from self.parts(inner, f"{path}.{name}")

    def _function(self, fn: types.FunctionType, path: str) -> Iterator[tuple[str, bytes | str]]:
        if _installed(fn):
            yield path, f"{fn.__module__}:{fn.__qualname__}"
            return
        yield f"the code of {fn.__qualname__}", repr(_code(fn.__code__, fn.__doc__))
        yield from self.parts(fn.__defaults__, f"the defaults of {fn.__qualname__}")
        yield from self.parts(fn.__kwdefaults__, f"the keyword defaults of {fn.__qualname__}")
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                inner = cell.cell_contents
            except ValueError:  # not yet assigned
                continue
            yield from self.parts(inner, f"{name}, which {fn.__qualname__} closes over")
        used = set(_names(fn.__code__))
        for name in sorted(used & set(fn.__globals__)):
            inner = fn.__globals__[name]
            if isinstance(inner, types.ModuleType) and not _installed(inner):
                for attribute in sorted(used & set(vars(inner))):
                    yield from self.parts(vars(inner)[attribute], f"{name}.{attribute}")
            elif not isinstance(inner, types.ModuleType):
                yield from self.parts(inner, f"the global {name}")


def _code(code: types.CodeType, doc: str | None = None) -> tuple[Any, ...]:
    """What a code object does, without names of its variables and where it lies."""
    constants = [_constant(c) for c in code.co_consts]
    if doc is not None and code.co_consts and code.co_consts[0] == doc:
        constants[0] = None
    return code.co_code.hex(), constants, code.co_names, len(code.co_varnames)


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _code(value)
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return _constants(value) if isinstance(value, tuple) else repr(value)


def _constants(values: tuple[Any, ...]) -> list[Any]:
    return [_constant(v) for v in values]


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
