"""The logits of a model, and what they say of each example: its loss, and whether it is right."""

import tensorflow as tf

from pipeline.errors import UserError
from pipeline.exact import softmax
from pipeline.modelling.model import Loss, Model

# How the types of TensorFlow's operations begin that draw random numbers and keep a state.
DRAWING = ("Random", "TruncatedNormal", "Multinomial", "RngReadAndSkip")


def logits_of(
    model: Model, x: tf.Tensor, *, training: bool = False, seed: tf.Tensor | None = None
) -> tf.Tensor:
    """Return the logits of a model, (n, classes): float64 if it computes exactly, else float32.

    Parameters
    ----------
    model : Model
    x : tensor (n, features)
        In the form that the model takes, as `prepared` returns it.
    training : bool
        Whether this is a step of training.
    seed : tensor of int64 (2,), optional
        For what is random in training.

    Raises
    ------
    UserError
        If the logits or a weight have another type, the logits have another shape, or they depend
        on random numbers that would be others when a training is resumed.
    """
    given = {"training": training, "seed": seed}
    logits = model(x, **{name: value for name, value in given.items() if model.takes(name)})
    name = type(model).__name__
    if not tf.is_tensor(logits):
        raise UserError(f"{name} gives {type(logits).__name__}: `__call__` must return the logits")
    found = logits.dtype
    if drawing := _drawing():
        raise UserError(
            f"{name} draws random numbers by {drawing}, which would be others in a training that "
            "goes on: use TensorFlow's `stateless` functions with the argument `seed` of `__call__`"
        )
    if model.exact and found != tf.float64:
        raise UserError(
            f"{name} has exact = True, but gives logits of {found.name}: "
            "compute them by `linear`, or leave exact out"
        )
    if not model.exact and found != tf.float32:
        raise UserError(f"{name} gives logits of {found.name}: they must be float32")
    for key, one in model.weights.items():
        if one.dtype != tf.float32:
            raise UserError(f"{name} has the weight {key!r} of {one.dtype.name}: use float32")
    shape = [x.shape[0], *model.batch, model.classes]
    if not logits.shape.is_compatible_with(shape):
        wanted = f"(n, {', '.join(map(str, shape[1:]))})"
        raise UserError(f"{name} gives logits of the shape {_shape(logits)}, not {wanted}")
    return logits


def score(
    logits: tf.Tensor, y: tf.Tensor, loss: Loss | None = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the loss of each example, whether it is right, and the gradient by the logits.

    An example is right if its largest logit is at its label; of equal logits, the first counts.

    Parameters
    ----------
    logits : tensor (n, ..., classes)
        float64 of a model that computes exactly, else float32.
    y : tensor of int32 (n,)
    loss : function of logits and y, optional
        Without it, the loss is the cross-entropy in nats, -log softmax(logits)[y], computed stably
        from the logits.

    Returns
    -------
    losses : tensor (n, ...)
        Of the type of the logits, as is the gradient.
    correct : tensor of bool (n, ...)
    gradient : tensor (n, ..., classes)

    Raises
    ------
    UserError
        If the given loss is not a float32 for each example, or is not computed from the logits.
    """
    if loss is None and logits.dtype == tf.float64:
        return softmax.cross_entropy(logits, y)
    correct = tf.equal(tf.argmax(logits, 1, tf.int32), y)
    if loss is None:
        # under op determinism, `tf.nn` makes a dozen operations of this one, for the sake of GPUs
        losses, slope = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=y)
        return losses, correct, slope
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = tf.convert_to_tensor(loss(logits, y))
    if losses.dtype != tf.float32 or not losses.shape.is_compatible_with([y.shape[0]]):
        raise UserError(
            f"the model's loss is {losses.dtype.name} of the shape {_shape(losses)}: it must be "
            "float32 of the shape (n,), one for each example"
        )
    if (slope := tape.gradient(losses, logits)) is None:
        raise UserError("the model's loss is not computed from the logits, so nothing is learned")
    return losses, correct, slope


def _drawing() -> str | None:
    """Return the type of an operation whose random numbers depend on earlier ones, if any."""
    if tf.executing_eagerly():
        return None
    made = tf.compat.v1.get_default_graph().get_operations()
    kinds = {operation.type for operation in made if operation.op_def.is_stateful}
    return next((kind for kind in sorted(kinds) if kind.startswith(DRAWING)), None)


def _shape(tensor: tf.Tensor) -> str:
    sizes = [str(size) if axis else "n" for axis, size in enumerate(tensor.shape)]
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"
