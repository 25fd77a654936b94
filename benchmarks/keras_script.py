"""The peer of the whole pipeline: a Keras script that loads, fits 60 epochs and evaluates."""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

folder, epochs = sys.argv[1], int(sys.argv[2])
x_train, y_train, x_test, y_test = (
    np.load(f"{folder}/{name}.npy") for name in ("x_train", "y_train", "x_test", "y_test")
)
model = tf.keras.Sequential([tf.keras.Input((784,)), tf.keras.layers.Dense(10)])
model.compile(
    tf.keras.optimizers.SGD(0.1),
    tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(
    x_train[:-5000],
    y_train[:-5000],
    batch_size=256,
    epochs=epochs,
    verbose=0,
    validation_data=(x_train[-5000:], y_train[-5000:]),
)
print(model.evaluate(x_test, y_test, verbose=0))
