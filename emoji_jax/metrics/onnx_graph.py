"""Networks in ONNX files as JAX functions: the few operations that face networks are made of."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from emoji_jax.errors import UserError

Weights = dict[str, np.ndarray]
Values = Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class Node:
    """An operation: its kind, the names of what it takes and of what it makes, and settings."""

    kind: str
    inputs: list[str]
    output: str
    attributes: Mapping[str, Any]

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """What it makes of these."""
        # An input without a name is left out.
        operands = (values[name] if name else None for name in self.inputs)
        return _OPERATIONS[self.kind](self.attributes, *operands)


def read(path: Path) -> tuple[Callable[[Weights, Array], Array], Weights]:
    """A network with one picture as its input, and its weights.

    Returns:
      `function(weights, pictures [F C H W])`, which returns the first output, and the weights:
      those that the file has in pieces of integers are put together.

    Raises:
      UserError: a file that is missing or damaged, or asks for an operation that is not known.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise UserError(
            "reading ONNX files needs the package onnx: pip install 'emoji_jax[evaluate]'"
        ) from None
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
        weights = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
    except Exception as error:  # whatever a damaged file makes the parser say
        raise UserError(f"{path} can't be read as ONNX: {error}") from error
    nodes = _sorted(graph.node, {*weights, *(i.name for i in graph.input)})
    unknown = sorted({node.kind for node in nodes} - {*_OPERATIONS})
    if unknown:
        raise UserError(f"{path} asks for {', '.join(unknown)}, which is not known here")
    picture = next(i.name for i in graph.input if i.name not in weights)
    output, rest = graph.output[0].name, []
    for node in nodes:  # what depends on weights alone is computed once
        if all(name in weights or not name for name in node.inputs):
            weights[node.output] = np.asarray(node(weights))
        else:
            rest.append(node)

    def function(weights: Mapping[str, Any], pictures: Array) -> Array:
        values = {**weights, picture: pictures}
        for node in rest:
            values[node.output] = node(values)
        return values[output]

    used = {name for node in rest for name in node.inputs}
    return function, {name: value for name, value in weights.items() if name in used}


def _sorted(nodes: Any, known: set[str]) -> list[Node]:
    """In an order in which every node comes after what it needs."""
    from onnx import helper

    waiting, found = list(nodes), []
    while waiting:
        ready = [n for n in waiting if all(i in known or not i for i in n.input)]
        if not ready:
            raise UserError("a network that is damaged: a node's input comes from nowhere")
        for node in ready:
            told = {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute}
            found.append(Node(node.op_type, list(node.input), node.output[0], told))
            known |= set(node.output)
        waiting = [n for n in waiting if n.output[0] not in known]
    return found


def _plain(value: Any) -> Any:
    """An attribute's value; tensors as arrays."""
    if type(value).__name__ == "TensorProto":
        from onnx import numpy_helper

        return numpy_helper.to_array(value)
    return value


def _dequantize(attributes: Mapping[str, Any], x: Values, scale: Values, zero: Values) -> Values:
    axis, size = attributes.get("axis", 1), attributes.get("block_size", 0)
    if size:
        length = range(x.shape[axis])
        scale, zero = (np.repeat(s, size, axis).take(length, axis) for s in (scale, zero))
    elif scale.ndim:
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (x.astype(np.float32) - zero.astype(np.float32)) * scale


def _convolution(
    attributes: Mapping[str, Any], x: Values, kernel: Values, bias: Values | None = None
) -> Values:
    pads = attributes.get("pads", [0, 0, 0, 0])
    x = jax.lax.conv_general_dilated(
        jnp.asarray(x),
        jnp.asarray(kernel),
        attributes.get("strides", [1, 1]),
        [(pads[0], pads[2]), (pads[1], pads[3])],
        rhs_dilation=attributes.get("dilations", [1, 1]),
        feature_group_count=attributes.get("group", 1),
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )
    return x if bias is None else x + bias[:, None, None]


def _norm(
    attributes: Mapping[str, Any], x: Values, scale: Values, bias: Values, mean: Values, var: Values
) -> Values:
    scale = scale / jnp.sqrt(var + attributes.get("epsilon", 1e-5))
    shape = (-1,) + (1,) * (x.ndim - 2)
    return x * scale.reshape(shape) + (bias - mean * scale).reshape(shape)


def _gemm(attributes: Mapping[str, Any], a: Values, b: Values, c: Values | None = None) -> Values:
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + attributes.get("beta", 1.0) * c


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Add": lambda _, a, b: a + b,
    "BatchNormalization": _norm,
    "Constant": lambda attributes: attributes["value"],
    "Conv": _convolution,
    "DequantizeLinear": _dequantize,
    "Dropout": lambda _, x, *rest: x,
    "Flatten": lambda _, x: x.reshape(len(x), -1),
    "Gemm": _gemm,
    "Mul": lambda _, a, b: a * b,
    "PRelu": lambda _, x, slope: jnp.where(x < 0, x * slope, x),
    "Relu": lambda _, x: jax.nn.relu(x),
    "Reshape": lambda _, x, shape: x.reshape([int(n) for n in shape]),
    "Sub": lambda _, a, b: a - b,
}
