"""Compiling the loops of engines: XLA options that compile faster and run as fast on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from probinf.core.host.asking import asks
from probinf.core.host.walking import on_host
from probinf.core.program import Program
from probinf.core.rows import converted
from probinf.core.xla import options


def compiled(
    fn: Callable[..., Any],
    *,
    static: Sequence[str] = (),
    once: bool = False,
    long: bool = False,
) -> Callable[..., Any]:
    """``jax.jit`` for functions called from the host, with what XLA's CPU backend does best.

    An engine's loop is hundreds of small kernels, and XLA's older kernel emitter compiles them
    in half the time of the newer one, to code as fast (measured in docs/design.md). The newer one
    compiles equal kernels once, and serves where a program among the arguments is ``layered``. On
    other devices, and where this XLA does not know the options, it is plain ``jax.jit``; so it is
    under another transformation, since XLA takes options for a whole program only.

    Args:
        fn: pure.
        static: names of static arguments.
        once: it runs once for each time it is compiled, so that compiling dominates.
        long: it runs so long that its code shall be the fastest, however long that compiles.
    """
    plain = jax.jit(fn, static_argnames=tuple(static))

    @functools.cache
    def chosen(layered: bool) -> Callable[..., Any]:
        found = options(once, long or layered)
        if found is None:
            return plain
        return jax.jit(fn, static_argnames=tuple(static), compiler_options=found)

    return _on_the_host_where_asked(fn, static, plain, chosen)


def jitted(
    fn: Callable[..., Any], *, static: Sequence[str] = (), donate: Sequence[str] = ()
) -> Callable[..., Any]:
    """``jax.jit`` for functions of programs, some of which ask the host.

    Args:
        fn: pure.
        static: names of static arguments.
        donate: names of arguments that are not used again, whose memory the result may take.
    """
    plain = jax.jit(fn, static_argnames=tuple(static), donate_argnames=tuple(donate))
    return _on_the_host_where_asked(fn, static, plain, lambda layered: plain)


def _on_the_host_where_asked(
    fn: Callable[..., Any],
    static: Sequence[str],
    plain: Callable[..., Any],
    chosen: Callable[[bool], Callable[..., Any]],
) -> Callable[..., Any]:
    """``fn`` compiled; in parts, where a program among its arguments asks the host."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return plain(*args, **kwargs)
        if asks((args, kwargs)):
            return on_host(fn, tuple(static), *args, **kwargs)
        if jax.device_count() > 1:
            args, kwargs = converted((args, kwargs))
        return chosen(_layered((args, kwargs)))(*args, **kwargs)

    return call


def _layered(tree: Any) -> bool:
    """Whether a program in this tree repeats large equal parts."""
    leaves = jax.tree.leaves(tree, is_leaf=_is_program)
    return any(_is_program(leaf) and leaf.layered for leaf in leaves)


def _is_program(value: Any) -> bool:
    return isinstance(value, Program)
