"""What the inputs of a traced scan are, in every version of JAX."""

from __future__ import annotations

from typing import Any


def scan_inputs(params: dict[str, Any]) -> tuple[int, int]:
    """How many inputs of a scan are the same at every step, and how many are carried.

    The rest are its rows. JAX counts them until 0.11; later it keeps a tree for each.

    Args:
        params: those of the equation of the scan.
    """
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)
