"""Compiling the loops of engines: XLA options that compile faster and run as fast on a CPU."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

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
) -> Compiled:
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

    return Compiled(fn, static, plain, chosen)


def jitted(
    fn: Callable[..., Any], *, static: Sequence[str] = (), donate: Sequence[str] = ()
) -> Compiled:
    """``jax.jit`` for functions of programs, some of which ask the host.

    Args:
        fn: pure.
        static: names of static arguments.
        donate: names of arguments that are not used again, whose memory the result may take.
    """
    plain = jax.jit(fn, static_argnames=tuple(static), donate_argnames=tuple(donate))
    return Compiled(fn, static, plain, lambda layered: plain)


class Compiled:
    """A function compiled; in parts, where a program among its arguments asks the host."""

    def __init__(
        self,
        fn: Callable[..., Any],
        static: Sequence[str],
        plain: Callable[..., Any],
        chosen: Callable[[bool], Callable[..., Any]],
    ) -> None:
        functools.update_wrapper(self, fn)
        self._fn, self._static = fn, tuple(static)
        self._plain, self._chosen = plain, chosen
        self._begun: set[int] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self._plain(*args, **kwargs)
        if asks((args, kwargs)):
            return on_host(self._fn, self._static, *args, **kwargs)
        if jax.device_count() > 1:
            args, kwargs = converted((args, kwargs))
        return self._chosen(_layered((args, kwargs)))(*args, **kwargs)

    def ahead(self, *args: Any) -> Callable[[], None] | None:
        """Compile for such arguments in a thread, while Python goes on with something else.

        XLA needs no Python while it compiles. A call with such arguments compiles nothing then,
        unless it comes too early: what is returned waits.

        Args:
            args: of a call, or their shapes.

        Returns:
            None where it has been done before or cannot be; so it is on several devices, where
            what is compiled depends on the arrays themselves: on which device they lie.
        """
        if asks(args) or jax.device_count() > 1 or jax.config.values["jax_disable_jit"]:
            return None
        leaves, treedef = jax.tree.flatten(args)
        kinds = ((getattr(leaf, "shape", leaf), getattr(leaf, "dtype", None)) for leaf in leaves)
        signature = hash((treedef, tuple(kinds), jnp.result_type(float)))
        if signature in self._begun:
            return None
        self._begun.add(signature)
        try:
            lowered = self._chosen(_layered(args)).lower(*args)  # type: ignore[attr-defined]
        except Exception:  # of the function, which its call meets again; or of a pytree of the
            return None  # user's that looks at its leaves, which are no arrays while JAX lowers
        thread = threading.Thread(target=_tried, args=(lowered.compile,))
        thread.start()
        return thread.join


def _tried(compiling: Callable[[], Any]) -> None:
    with contextlib.suppress(Exception):  # the call that follows fails alike, and says so
        compiling()


def _layered(tree: Any) -> bool:
    """Whether a program in this tree repeats large equal parts."""
    leaves = jax.tree.leaves(tree, is_leaf=_is_program)
    return any(_is_program(leaf) and leaf.layered for leaf in leaves)


def _is_program(value: Any) -> bool:
    return isinstance(value, Program)
