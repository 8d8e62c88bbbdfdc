"""The model in TensorFlow Recommenders: its Retrieval task, fed by tf.data, all batches in one
tf.function.

What it does not do, in its favour: ids are rows already; log Q is known, nothing estimates it;
nothing looks whether a loss or gradient is finite. What it does otherwise: Adagrad has a sum for
each number, since Keras has no row-wise one and this kernel is its fastest; its softmax has a
column for each click, ours one for each item. XLA (`jit_compile`) of towers and loss was no faster.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from benchmarks.peers.answering import FIRST, THREADS, WIDTH, Contestant, Task, main
from benchmarks.peers.clicks import Clicks


class Tables:
    """Both ID tables, pooled."""

    def __init__(self, clicks: Clicks) -> None:
        first = tf.random_uniform_initializer(-FIRST, FIRST)
        self.user = tf.Variable(first((clicks.users, WIDTH)), name="user")
        self.item = tf.Variable(first((clicks.items, WIDTH)), name="item")

    def pooled(self, batch: Any, rows: int) -> tuple[Any, Any]:
        """The inputs of both towers; histories are pooled jagged."""
        items, place = tf.unique(batch["history"])  # as embedding_lookup_sparse does
        history = tf.sparse.segment_mean(
            tf.gather(self.item, items), place, batch["of_click"], num_segments=rows
        )
        own = tf.gather(self.item, batch["item"])
        query = tf.concat((tf.gather(self.user, batch["user"]), history), axis=1)
        return query, tf.concat((own, batch["statistics"]), axis=1)


class Towers:
    """The dense part, up to the loss."""

    def __init__(self, statistics: int) -> None:
        self.query = _tower(2 * WIDTH)
        self.candidate = _tower(WIDTH + statistics)
        self.bias = tf.keras.layers.Dense(1)
        self.bias.build((None, WIDTH + statistics))
        self.log_scale = tf.Variable(np.float32(np.log(20.0)))
        self._task = tfrs.tasks.Retrieval(
            loss=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
            remove_accidental_hits=True,
        )

    def weights(self) -> list[Any]:
        layers = (self.query, self.candidate, self.bias)
        return [each for layer in layers for each in layer.trainable_variables] + [self.log_scale]

    def loss(self, query: Any, candidate: Any, item: Any, q: Any) -> Any:
        """The bias is one more number of a candidate, which the task would not know otherwise."""
        vectors = tf.math.l2_normalize(self.query(query), axis=1) * tf.exp(self.log_scale)
        candidates = tf.math.l2_normalize(self.candidate(candidate), axis=1)
        return self._task(
            tf.concat((vectors, tf.ones_like(vectors[:, :1])), axis=1),
            tf.concat((candidates, self.bias(candidate)), axis=1),
            candidate_sampling_probability=q,
            candidate_ids=item,
            compute_metrics=False,
        )


def _tower(inputs: int) -> Any:
    dense = tf.keras.layers.Dense
    tower = tf.keras.Sequential([dense(256, "relu"), dense(128, "relu"), dense(WIDTH)])
    tower.build((None, inputs))
    return tower


class Tfrs:
    """One graph that takes all batches."""

    def __init__(self, task: Task) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)
        tf.random.set_seed(1)
        self._rows = task.batch_rows
        self._tables = Tables(task.clicks)
        self._towers = Towers(task.clicks.statistics.shape[1])
        legacy = tf.keras.optimizers.legacy  # its kernels for rows are fused, the newer ones' not
        self._of_rows = legacy.Adagrad(0.1, initial_accumulator_value=0.0, epsilon=1e-10)
        self._of_dense = legacy.Adam(1e-3) if task.is_nightly else None
        self._loss = tf.function(self._towers.loss)
        self._batches = _dataset(task.clicks, self._rows)
        self._learnt = tf.function(self._epoch)

    def learn(self) -> Sequence[float]:
        found: list[float] = self._learnt().numpy().tolist()
        return found

    def _epoch(self) -> Any:
        losses = tf.TensorArray(tf.float32, size=0, dynamic_size=True)
        for number, batch in self._batches.enumerate():
            losses = losses.write(tf.cast(number, tf.int32), self._step(batch))
        return losses.stack()

    def _step(self, batch: Any) -> Any:
        rows = [self._tables.user, self._tables.item]
        dense = self._towers.weights() if self._of_dense is not None else []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(rows + dense)
            query, candidate = self._tables.pooled(batch, self._rows)
            loss = self._loss(query, candidate, batch["item"], batch["q"])
        gradients = tape.gradient(loss, rows + dense)
        self._of_rows.apply_gradients(zip(gradients[:2], rows, strict=True))
        if self._of_dense is not None:
            self._of_dense.apply_gradients(zip(gradients[2:], dense, strict=True))
        return loss


def _dataset(clicks: Clicks, rows: int) -> Any:
    """Batches, cut out of arrays by the graph itself, ahead of the steps."""
    user, item, history, offsets, statistics, q = (
        tf.constant(each)
        for each in (
            clicks.user,
            clicks.item,
            clicks.history,
            clicks.offsets,
            clicks.statistics,
            np.exp(clicks.log_q),
        )
    )
    of_click = tf.repeat(
        tf.range(len(clicks.user), dtype=tf.int32), tf.cast(offsets[1:] - offsets[:-1], tf.int32)
    )

    def batch(begin: Any) -> dict[str, Any]:
        own = tf.ensure_shape(item[begin : begin + rows], (rows,))
        between = slice(offsets[begin], offsets[begin + rows])
        return {
            "user": tf.ensure_shape(user[begin : begin + rows], (rows,)),
            "item": own,
            "history": history[between],
            "of_click": of_click[between] - tf.cast(begin, tf.int32),
            "statistics": tf.gather(statistics, own),
            "q": tf.gather(q, own),
        }

    begins = tf.data.Dataset.range(0, len(clicks.user) - rows + 1, rows)
    return begins.map(batch, num_parallel_calls=1).prefetch(4)


def made(task: Task) -> Contestant:
    return Tfrs(task)


if __name__ == "__main__":
    versions = {"tensorflow-recommenders": tfrs.__version__, "tensorflow": tf.__version__}
    main(made, versions)
