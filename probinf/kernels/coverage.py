"""Which coordinates of a program a kernel moves, and whether it can."""

from __future__ import annotations

from typing import Any

from probinf.core.coordinates import Layout
from probinf.errors import MethodError
from probinf.kernels.base import Kernel
from probinf.kernels.composition import Block, Cycle, Repeat


def check_coordinates(kernel: Kernel, layout: Layout, levels: dict[str, Any]) -> set[str]:
    """The sites that a kernel moves.

    Args:
        kernel: with blocks or without.
        layout: of what it is given to move.
        levels: lowest and highest value of the discrete sites with finitely many.

    Raises:
        MethodError: a site is unknown, moved by nothing, or of a kind that its kernel cannot
            move.
    """
    known = layout.places()
    if isinstance(kernel, Repeat):
        return check_coordinates(kernel.kernel, layout, levels)
    if isinstance(kernel, Cycle):
        return {n for k in kernel.kernels for n in check_coordinates(k, layout, levels)}
    if isinstance(kernel, Block):
        unknown = [name for name in kernel.sites if name not in known]
        if unknown:
            raise MethodError(
                f"block: no latent site named {unknown}; this program has {sorted(known)}."
            )
        check_coordinates(kernel.kernel, layout.part(kernel.sites)[1], levels)
        return set(kernel.sites)
    whole = layout.integer_sites
    name = type(kernel).__name__
    if kernel.moves_integers:
        real = sorted(set(known) - set(whole))
        if real:
            raise MethodError(
                f"{name} moves discrete coordinates only, not {real}. Give each kind a block: "
                'kernels.cycle(kernels.block("z", kernels.Enumerate()), kernels.block("mu", '
                "kernels.NUTS()))."
            )
        endless = [n for n in whole if n not in levels]
        if kernel.enumerates and endless:
            raise MethodError(
                f"{name} needs a finite support that is known before sampling; {endless} have "
                "none. Use kernels.IntegerWalk()."
            )
    elif whole:
        raise MethodError(
            f"{name} cannot move the discrete coordinates {sorted(whole)}. Give them a block of "
            f'their own: kernels.cycle(kernels.block("{sorted(whole)[0]}", kernels.Enumerate()), '
            f"kernels.block(..., kernels.{name}()))."
        )
    return set(known)
