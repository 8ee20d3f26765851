"""Rows of any structure: checked, joined with their predictions, padded for compiled code."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from probinf.core.inputs.arrays import check_entries, converted, plain
from probinf.core.inputs.frames import column_names, is_pandas, same_index, same_rows
from probinf.errors import ArrayError
from probinf.ppi.inference.checks import REMEDY, untraced
from probinf.ppi.inference.columns import same_columns
from probinf.ppi.inference.core import Data
from probinf.ppi.inference.scheme import Scheme

_PADDED = 65_536  # beyond this many rows compiling is cheap against running
_ALIGNED = 64  # bytes; XLA reads arrays in place from there
_LARGE = 1 << 20  # bytes from which on copies take time


@dataclasses.dataclass(frozen=True)
class Unravel:
    """A flat vector as a pytree; equal for equal structures, so that nothing is compiled twice."""

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]

    def __call__(self, flat: Any) -> Any:
        """The pytree of ``flat``."""
        leaves, start = [], 0
        for shape in self.shapes:
            size = int(np.prod(shape))
            leaves.append(flat[start : start + size].reshape(shape))
            start += size
        return jax.tree.unflatten(self.treedef, leaves)


def flatten_parameters(init: Any) -> tuple[np.ndarray, Unravel, tuple[str, ...]]:
    """Flat start, its inverse, and a name per scalar."""
    paths, treedef = jax.tree_util.tree_flatten_with_path(init)
    if not paths:
        raise ArrayError("init holds no parameters.")
    leaves = [np.asarray(leaf, dtype=np.float64) for _, leaf in paths]
    if any(not np.isfinite(leaf).all() for leaf in leaves):
        raise ArrayError("init holds NaN or infinite values.")
    names: list[str] = []
    for (path, _), leaf in zip(paths, leaves, strict=True):
        stem = ".".join(str(getattr(k, "key", getattr(k, "idx", k))) for k in path) or "theta"
        index = np.ndindex(*leaf.shape)
        names += [f"{stem}[{','.join(map(str, i))}]" if i else stem for i in index]
    flat = np.concatenate([leaf.ravel() for leaf in leaves])
    return flat, Unravel(treedef, tuple(leaf.shape for leaf in leaves)), tuple(names)


def parameter_names(flat: tuple[str, ...], x: Any, names: Any = None) -> tuple[str, ...]:
    """Names that were given, else those of the regressors, else those of the flat parameters."""
    if names is not None:
        if len(names) != len(flat):
            raise ArrayError(f"{len(names)} names for {len(flat)} parameters.")
        return tuple(names)
    if is_pandas(x) and x.ndim == 2 and x.shape[1] == len(flat):
        return column_names(x, 2)
    return flat


def leaf(name: str, a: Any) -> np.ndarray:
    """One array of rows: integers stay integers, all else becomes float64."""
    values = np.asarray(plain(name, untraced(name, a)))
    values = np.asarray(converted(name, values, np.int64 if values.dtype.kind in "biu" else float))
    check_entries(name, values, finite=True, remedy=REMEDY)
    if values.ndim == 0:
        raise ArrayError(f"{name} is a scalar; give one value per row.")
    return values


def check_rows(what: str, rows: Any) -> dict[str, np.ndarray]:
    """A dictionary of arrays with equal numbers of rows."""
    if not isinstance(rows, dict) or not rows:
        raise ArrayError(f"{what} must be a dictionary of arrays, for example dict(x=X, y=y).")
    same_index(**{f"{what}[{k!r}]": a for k, a in rows.items()})
    found = {str(k): leaf(f"{what}[{k!r}]", a) for k, a in rows.items()}
    same_rows(**{f"{what}[{k!r}]": a for k, a in found.items()})
    return found


def with_proxies(labeled: dict[str, np.ndarray], proxies: dict[str, np.ndarray]) -> Any:
    """Labelled rows with predicted columns put in."""
    unknown = set(proxies) - set(labeled)
    if unknown:
        raise ArrayError(
            f"proxies name {', '.join(sorted(unknown))}, which labeled does not hold; its columns "
            f"are {', '.join(labeled)}."
        )
    for name, a in proxies.items():
        if a.shape[0] != labeled[name].shape[0]:
            raise ArrayError(
                f"proxies[{name!r}] has {a.shape[0]} rows, labeled {labeled[name].shape[0]}."
            )
    return {**labeled, **proxies}


def like_columns(labeled: Any, what: str, rows: Any) -> Any:
    """``rows`` with the columns of every table in the order of the labelled one."""
    if not (isinstance(labeled, dict) and isinstance(rows, dict)):
        return rows
    return {
        k: same_columns(f"labeled[{k!r}]", labeled[k], f"{what}[{k!r}]", a) if k in labeled else a
        for k, a in rows.items()
    }


def one_sample(labeled: dict[str, Any], proxies: dict[str, Any]) -> None:
    """Raise where labels and predictions of the labelled rows have different indexes."""
    named = {f"labeled[{k!r}]": a for k, a in labeled.items()}
    same_index(**named, **{f"proxies[{k!r}]": a for k, a in proxies.items()})


def three_samples(labeled: Any, proxies: Any, unlabeled: Any) -> tuple[Any, Any, Any]:
    """Rows with true values, the same with predictions put in, and unlabelled rows, checked."""
    proxies = like_columns(labeled, "proxies", proxies)
    unlabeled = like_columns(labeled, "unlabeled", unlabeled)
    mine, guess = check_rows("labeled", labeled), check_rows("proxies", proxies)
    one_sample(labeled, proxies)
    proxied, other = with_proxies(mine, guess), check_rows("unlabeled", unlabeled)
    missing = set(mine) - set(other)
    if missing:
        raise ArrayError(f"unlabeled lacks {', '.join(sorted(missing))}.")
    for k in mine:
        if other[k].shape[1:] != mine[k].shape[1:] and k not in proxies:
            raise ArrayError(
                f"unlabeled[{k!r}] has rows of shape {other[k].shape[1:]}, labeled "
                f"{mine[k].shape[1:]}."
            )
    return mine, proxied, {k: other[k] for k in mine}


def _size(rows: int) -> int:
    """``rows``, or for small data the next size of a coarse grid, so that few are compiled."""
    if rows >= _PADDED:
        return rows
    power = 1 << max(int(rows - 1).bit_length(), 4)
    return power * 3 // 4 if rows <= power * 3 // 4 else power


def _padded(a: np.ndarray, size: int, fill: bool) -> np.ndarray:
    missing = size - len(a)
    if missing == 0:
        return _aligned(a)
    tail = np.broadcast_to(a[:1] if fill else np.zeros_like(a[:1]), (missing, *a.shape[1:]))
    return np.concatenate([a, tail])


def _aligned(a: np.ndarray) -> np.ndarray:
    """A copy that JAX takes as it is; one that JAX makes itself is four times slower."""
    if a.nbytes < _LARGE:
        return a
    room = np.empty(a.nbytes + _ALIGNED, np.uint8)
    start = -room.ctypes.data % _ALIGNED
    copy = room[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    np.copyto(copy, a)
    return copy


def make_data(
    labeled: dict[str, np.ndarray],
    proxied: tuple[dict[str, np.ndarray], ...],
    unlabeled: tuple[dict[str, np.ndarray], ...],
    scheme: Scheme,
) -> Data:
    """`Data` for the compiled core: rows beyond the real ones have weight zero."""
    n, N = _size(scheme.n), _size(scheme.N) if unlabeled else 0

    def rows(source: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
        return {k: _padded(a, size, True) for k, a in source.items()}

    return Data(
        rows(labeled, n),
        tuple(rows(p, n) for p in proxied),
        tuple(rows(u, N) for u in unlabeled),
        _padded(scheme.alpha, n, False),
        _padded(scheme.gamma, n, False),
        _padded(scheme.beta, N, False),
    )
