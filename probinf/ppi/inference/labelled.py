"""Series and DataFrames of a result, for users who came with pandas."""

from __future__ import annotations

from typing import Any

import numpy as np


def series(values: np.ndarray, names: tuple[str, ...]) -> Any:
    """Values (d,) by name."""
    import pandas as pd

    return pd.Series(values, index=list(names))


def frame(values: np.ndarray, names: tuple[str, ...], columns: tuple[str, ...]) -> Any:
    """Values (d, k) by name and column."""
    import pandas as pd

    return pd.DataFrame(values, index=list(names), columns=list(columns))
