"""An order statistic of a union of shifted sorted lists, without forming the union."""

from __future__ import annotations

import numpy as np

_STEPS = 40
_FEW = 3  # values left in a bracket: walking them is cheaper than halving again


def merged_order_stat(shifts: np.ndarray, parts: list[np.ndarray], k: int) -> np.ndarray:
    """The k-th smallest of the union over j of ``shifts[:, j] + parts[j]``, per row.

    Bisection by counting with binary searches brackets the answer, then the attained values
    inside the bracket are walked. Values that differ by rounding alone count as ties.

    Args:
        shifts: (m, K).
        parts: K ascending arrays, of n numbers together.
        k: rank; above n gives +inf.
    """
    n = sum(p.size for p in parts)
    if k > n or not len(shifts):
        return np.full(len(shifts), np.inf if k > n else 0.0)
    used = [j for j, p in enumerate(parts) if p.size]
    parts = [parts[j] for j in used]
    # rows in order: neighbouring searches then touch the same memory
    order = np.argsort(shifts[:, used[0]], kind="stable")
    shifts = np.ascontiguousarray(shifts[order][:, used].T)
    slack = tie_slack(shifts.T, np.concatenate(parts))
    lo, hi = _bracket(shifts, parts, k, n)
    lo = _narrow(lo - 2 * slack, hi, slack, shifts, parts, k)
    found = np.empty(shifts.shape[1])
    found[order] = _walk(lo, slack, shifts, parts, k)
    return found


def tie_slack(shifts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(m,) how far sums of the rows of ``shifts`` and the values lie apart by rounding alone."""
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    return np.asarray(8 * np.finfo(float).eps * (np.abs(shifts).max(axis=1) + largest))


def _narrow(
    lo: np.ndarray,
    hi: np.ndarray,
    slack: np.ndarray,
    shifts: np.ndarray,
    parts: list[np.ndarray],
    k: int,
) -> np.ndarray:
    """Lower ends of brackets that hold few values, by halving; rows that are done drop out."""
    lo = lo.copy()
    rows = np.arange(lo.size)
    left, right = lo, hi
    few, many = np.zeros(lo.size, np.int64), np.full(lo.size, np.iinfo(np.int64).max)
    for _ in range(_STEPS):
        mid = 0.5 * (left + right)
        count = _count(mid + slack[rows], shifts, parts)
        enough = count >= k
        left, right = np.where(enough, left, mid), np.where(enough, mid, right)
        few, many = np.where(enough, few, count), np.where(enough, count, many)
        lo[rows] = left
        wide = many - few > _FEW
        if not wide.any():
            break
        if wide.mean() < 0.7:
            rows, shifts = rows[wide], shifts[:, wide]
            left, right, few, many = left[wide], right[wide], few[wide], many[wide]
    return lo


def _count(t: np.ndarray, shifts: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    found = np.zeros(t.size, np.int64)
    for mu, part in zip(shifts, parts, strict=True):
        found += np.searchsorted(part, t - mu, "right")
    return found


def _bracket(
    shifts: np.ndarray, parts: list[np.ndarray], k: int, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """If every list gives its k/n share, the smallest and largest of these ends enclose rank k."""
    low, high = [], []
    for mu, part in zip(shifts, parts, strict=True):
        share = k * part.size / n
        low.append(mu + part[max(int(np.floor(share)) - 1, 0)])
        high.append(mu + part[min(int(np.ceil(share)), part.size) - 1])
    smallest = np.min([mu + p[0] for mu, p in zip(shifts, parts, strict=True)], axis=0)
    lo = np.min(low, axis=0)
    lo = np.where(np.isfinite(lo), lo, smallest)
    return np.nextafter(lo, -np.inf), np.max(high, axis=0)


def _walk(
    lo: np.ndarray, slack: np.ndarray, shifts: np.ndarray, parts: list[np.ndarray], k: int
) -> np.ndarray:
    """From a point below the answer, step through attained values until the count reaches k."""
    answer = np.full(lo.size, np.inf)
    active = np.arange(lo.size)
    at = lo.copy()
    while active.size:
        following = np.full(active.size, np.inf)
        for mu, part in zip(shifts[:, active], parts, strict=True):
            place = np.searchsorted(part, at[active] + slack[active] - mu, "right")
            value = mu + part[np.minimum(place, part.size - 1)]
            following = np.minimum(following, np.where(place < part.size, value, np.inf))
        counts = _count(following + slack[active], shifts[:, active], parts)
        done = (counts >= k) | np.isinf(following)
        answer[active[done]] = following[done]
        at[active] = following
        active = active[~done]
    return answer
