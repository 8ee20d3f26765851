"""Tables as arguments of models: columns of a DataFrame are arrays, Series are too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probinf.errors import ModelError

_FAMILIES = ("pandas", "polars")


def is_table(value: Any) -> bool:
    """Whether it is a DataFrame, a Series or an Index, of pandas or polars."""
    library = type(value).__module__.split(".")[0]
    return library in _FAMILIES and hasattr(value, "to_numpy") and hasattr(value, "shape")


def as_arrays(name: str, value: Any) -> Any:
    """A Series as an array; a DataFrame as :class:`Columns`.

    Raises:
        ModelError: a Series does not hold numbers.
    """
    if len(value.shape) == 1:
        array, why = _numbers(value)
        if array is None:
            raise ModelError(f"{name} is a Series of {why}")
        return array
    if len({str(column) for column in value.columns}) < len(value.columns):
        raise ModelError(f"{name}: two columns have the same name; rename one of them.")
    found = {str(column): _numbers(value[column]) for column in value.columns}
    good = {column: array for column, (array, _) in found.items() if array is not None}
    bad = tuple((column, why) for column, (array, why) in found.items() if array is None)
    return Columns(good, tuple(found), bad, name)


def _numbers(series: Any) -> tuple[np.ndarray | None, str]:
    """Its numbers, or what it holds in place of numbers and the remedy."""
    kind, label = str(series.dtype), getattr(series, "name", None)
    named = repr(str(label)) if label is not None else ""
    column = f"frame[{named}]" if named else "series"
    array = np.asarray(series.to_numpy())
    if array.dtype.kind in "biufc":
        return array, ""
    if array.dtype.kind in "mM" or "date" in kind.lower() or "time" in kind.lower():
        return None, (
            f"dates ({kind}). Pass numbers: ({column} - {column}.min()).dt.total_seconds()."
        )
    values = [v for v in array.ravel().tolist() if isinstance(v, int | float | bool)]
    if array.size and len(values) == array.size and "ategor" not in kind:
        return np.asarray(values), ""  # numbers that were kept as objects
    missing = [v for v in array.ravel().tolist() if v is None or str(v) in ("<NA>", "nan", "NaT")]
    if values and len(values) + len(missing) == array.size and "ategor" not in kind:
        return None, (
            f"{kind} with {len(missing)} missing values. Leave their rows out (dropna), or pass "
            f"{column}.to_numpy(float, na_value=np.nan) to numpyro.sample(..., obs_mask=)."
        )
    return None, (
        f"{kind}, no numbers. Pass codes, and keep their labels for coords=: "
        f"codes, labels = pd.factorize({column})."
    )


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Columns:
    """The numeric columns of a DataFrame inside a model, read as one reads a DataFrame.

    ``data["x"]`` and ``data.x`` are arrays (rows,), ``data[["x", "z"]]`` and ``data`` itself,
    where an array is wanted (``data @ beta``), matrices (rows, columns). Columns that hold no
    numbers are refused where they are read.

    Its own fields begin with an underscore, so that a column may have any other name that it
    could have in a DataFrame.
    """

    _arrays: dict[str, Any]
    _names: tuple[str, ...]  # of all columns, in their order
    _refused: tuple[tuple[str, str], ...] = ()  # columns without numbers, and why
    _argument: str = "the DataFrame"  # of the model, for messages

    def tree_flatten(self) -> tuple[tuple[dict[str, Any]], Any]:
        """For JAX: arrays, and what is static."""
        return (self._arrays,), (self._names, self._refused, self._argument)

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> Columns:
        """The inverse of ``tree_flatten``."""
        return cls(children[0], *static)

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return list(self._names)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), len(self._names)

    @property
    def values(self) -> jax.Array:
        """All columns as a matrix (rows, columns)."""
        return jnp.stack([jnp.asarray(self[name]) for name in self._names], axis=1)

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    def to_numpy(self) -> jax.Array:
        """The same as ``values``."""
        return self.values

    def __jax_array__(self) -> jax.Array:
        return self.values

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values()))) if self._arrays else 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: Any) -> Any:
        if isinstance(name, list | tuple):
            return jnp.stack([jnp.asarray(self[each]) for each in name], axis=1)
        if name in self._arrays:
            return self._arrays[name]
        if name in dict(self._refused):
            raise ModelError(f"{self._argument}: column {name!r} is {dict(self._refused)[name]}")
        raise ModelError(f"{self._argument} has no column {name!r}; there are {list(self._names)}.")

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self._names:
            return self[name]
        raise AttributeError(name)

    def __matmul__(self, other: Any) -> jax.Array:
        return self.values @ other

    def __mul__(self, other: Any) -> jax.Array:
        return self.values * other

    __rmul__ = __mul__

    def __add__(self, other: Any) -> jax.Array:
        return self.values + other

    __radd__ = __add__

    def __sub__(self, other: Any) -> jax.Array:
        return self.values - other

    def __rsub__(self, other: Any) -> jax.Array:
        return other - self.values

    def __truediv__(self, other: Any) -> jax.Array:
        return self.values / other

    def __rtruediv__(self, other: Any) -> jax.Array:
        return other / self.values

    def __pow__(self, other: Any) -> jax.Array:
        return self.values**other

    def __neg__(self) -> jax.Array:
        return -self.values

    def __rmatmul__(self, other: Any) -> jax.Array:
        return other @ self.values

    __array_ufunc__ = None  # so that NumPy's arrays leave the operators to this class

    @property
    def T(self) -> jax.Array:
        """The matrix of all columns, transposed."""
        return self.values.T
