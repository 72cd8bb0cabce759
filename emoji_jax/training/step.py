"""One training step as one compiled program: gradients, several times if wanted, and an update."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PRNGKeyArray

from emoji_jax import checkpoint
from emoji_jax.training import sharding
from emoji_jax.training.state import OptimiserConfig, Parameters, TrainState, advance

Batch = Mapping[str, Any]
Metrics = dict[str, Array]
# Of a model on a batch (and of others by name): the loss, and metrics with `examples`, the loss of
# each sample.
Loss = Callable[..., tuple[Array, Metrics]]


def objective(
    graph: nnx.GraphDef, shapes: nnx.State, loss: Loss, mesh: Mesh, beside: Sequence[str] = ()
) -> Callable[..., Any]:
    """The loss as a function of parameters by name: (trained, `TrainState.beside`, batch, key).

    Args:
      graph: of the networks.
      shapes: of their parameters.
      loss: function of a model, a batch and a key.
      mesh: told to those parts of networks that the compiler can't divide over it.
      beside: what other models it takes: those with NAME.x in place of each trained x.
    """

    def function(
        trained: Parameters, frozen: Parameters, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Array, Metrics]:
        def model(own: Parameters) -> Any:
            return nnx.merge(graph, checkpoint.unflatten(shapes, {**frozen, **own}))

        others = {name: model({x: frozen[f"{name}.{x}"] for x in trained}) for name in beside}
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return loss(model(trained), batch, key, **others)

    return function


def _parts(batch: Batch, count: int, mesh: Mesh) -> Batch:
    """`count` batches along a new first axis, each of them spread over all devices."""
    spread = NamedSharding(mesh, PartitionSpec(None, *sharding.BATCH))

    def divide(x: Array) -> Array:
        parts = x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1)
        return jax.lax.with_sharding_constraint(parts, spread)

    return {name: divide(x) for name, x in batch.items()}


def accumulated(
    function: Callable[..., Any], count: int, mesh: Mesh
) -> Callable[..., tuple[Parameters, Metrics]]:
    """Gradients and metrics of a batch, computed in `count` parts to need less memory."""

    def gradients(
        trained: Parameters, frozen: Parameters, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Parameters, Metrics]:
        (value, metrics), grads = jax.value_and_grad(function, has_aux=True)(
            trained, frozen, batch, key
        )
        return grads, {"loss": value, **metrics}

    def in_parts(
        trained: Parameters, frozen: Parameters, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Parameters, Metrics]:
        def part(total: Parameters, x: tuple[Batch, PRNGKeyArray]) -> tuple[Parameters, Metrics]:
            grads, metrics = gradients(trained, frozen, *x)
            return jax.tree.map(jnp.add, total, grads), metrics

        zeros = jax.tree.map(jnp.zeros_like, trained)
        parts = (_parts(batch, count, mesh), jax.random.split(key, count))
        total, metrics = jax.lax.scan(part, zeros, parts)
        examples = metrics.pop("examples").swapaxes(0, 1).reshape(-1)
        means = jax.tree.map(lambda x: x.mean(0), metrics)
        return jax.tree.map(lambda x: x / count, total), {"examples": examples, **means}

    return gradients if count == 1 else in_parts


def make(
    function: Callable[..., Any],
    cfg: OptimiserConfig,
    mesh: Mesh,
    *,
    steps: int,
    accumulate: int = 1,
) -> Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]:
    """Compiles a step; the state is donated, and comes back on the devices where it was.

    Args:
      function: what `objective` returned.
      cfg: the optimiser's.
      mesh: the devices.
      steps: how many the run takes, for the learning rate.
      accumulate: parts that a batch is computed in.

    Returns:
      Function of state, batch and the run's key, from which each step takes its own.
    """
    gradients = accumulated(function, accumulate, mesh)

    def step(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        grads, metrics = gradients(
            state.trained, state.beside, batch, jax.random.fold_in(key, state.step)
        )
        metrics["grad_norm"] = optax.tree.norm(grads)
        # In the order of the batch, so that every process finds its own.
        metrics["examples"] = jax.lax.with_sharding_constraint(
            metrics["examples"], NamedSharding(mesh, sharding.BATCH)
        )
        after = advance(state, grads, cfg, steps)
        placed = jax.tree.map(
            jax.lax.with_sharding_constraint, after, sharding.of_tree(after, mesh)
        )
        return placed, metrics

    return jax.jit(step, donate_argnums=0)
