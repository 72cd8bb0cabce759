"""Arithmetic of a function as it is written: matrix products and convolutions, loops in full.

XLA's own count takes the body of a loop once, and sees nothing of kernels like cuDNN's.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr  # pyright: ignore

from emoji_jax.models import convolution


def count(function: Callable[..., Any], *arguments: Any) -> float:
    """Additions and multiplications of a function of these arguments, which may be shapes.

    What is recomputed to save memory counts, too; of branches the most expensive one does. A loop
    whose number of rounds is known only when it runs counts as one round.
    """
    with convolution.as_written():
        return _of(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of(jaxpr: Jaxpr) -> float:
    return float(sum(map(_equation, jaxpr.eqns)))


def _equation(equation: Any) -> float:
    operation, parameters = equation.primitive.name, equation.params
    if operation == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2.0 * equation.outvars[0].aval.size * math.prod(shape[i] for i in contracted)
    if operation == "conv_general_dilated":
        kernel = equation.invars[1].aval
        outputs = kernel.shape[parameters["dimension_numbers"].rhs_spec[0]]
        # Zeros that a transposed convolution puts between its inputs are no work.
        each = kernel.size / outputs / math.prod(parameters["lhs_dilation"])
        return 2.0 * equation.outvars[0].aval.size * each
    inner = [_of(jaxpr) for jaxpr in _inside(parameters)]
    if operation == "cond":
        return max(inner)
    times = {"scan": lambda: parameters["length"], "shard_map": lambda: parameters["mesh"].size}
    return float(times.get(operation, lambda: 1)()) * sum(inner)


def _inside(parameters: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in parameters.values():
        for x in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(x, ClosedJaxpr):
                yield x.jaxpr
            elif isinstance(x, Jaxpr):
                yield x
