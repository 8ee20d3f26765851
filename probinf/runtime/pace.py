"""Pace: how many steps to ask of the next chunk, so that the host looks about once a second."""

from __future__ import annotations

import numpy as np

TARGET_SECONDS = 1.0


class Pace:
    """Steps of a chunk, from how long the last one took.

    Args:
        first: steps of the first chunk.
        most: of any.
    """

    def __init__(self, first: int, most: int) -> None:
        self.limit, self.most = max(1, min(first, most)), most

    def took(self, steps: int, seconds: float) -> None:
        """Learn from a chunk."""
        wanted = steps / max(seconds, 1e-6) * TARGET_SECONDS
        self.limit = int(np.clip(wanted, 1, min(10 * self.limit, self.most)))
