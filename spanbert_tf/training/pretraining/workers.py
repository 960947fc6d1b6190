"""The workers of a data-parallel run, and what they say to one another.

A process is one worker with one device.  Each holds all weights; gradients are summed over the
workers, and all make the same update.  For `TF_CONFIG` see
https://www.tensorflow.org/guide/distributed_training.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

# A worker that is this late is taken for dead.  Writing a checkpoint or a validation plan, which
# one worker does while the others wait, must take less.
TIMEOUT_SECONDS = 300.0

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
)


class WorkerLost(ConnectionError):
    """Another worker has stopped, so that this one cannot go on."""


class Workers:
    """This process among the workers of a run.

    Args:
        strategy: A `tf.distribute.MultiWorkerMirroredStrategy` of several workers; `None`: this
            process is alone.
        index: The number of this worker, from 0.
        count: How many workers there are.

    Attributes:
        is_chief: Whether this worker, the first, is the one that writes files.
    """

    def __init__(self, strategy: Any = None, index: int = 0, count: int = 1) -> None:
        self.strategy = strategy
        self.index = index
        self.count = count
        self.is_chief = index == 0

    @classmethod
    def from_environment(cls, timeout: float = TIMEOUT_SECONDS) -> "Workers":
        """Meets the workers that the environment variable `TF_CONFIG` names.

        Must come before TensorFlow computes anything.  Waits until all workers have come.

        Args:
            timeout: Seconds after which a worker that does not answer is taken for dead.

        Raises:
            ValueError: `TF_CONFIG` cannot be read, or this worker has several devices.
        """
        if not os.environ.get("TF_CONFIG"):
            return cls()
        try:
            resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
            cluster = resolver.cluster_spec().as_dict()
            names = [
                (job, i) for job in ("chief", "worker") for i in range(len(cluster.get(job, ())))
            ]
            index = names.index((resolver.task_type, resolver.task_id))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                "the environment variable TF_CONFIG must be JSON such as "
                '{"cluster": {"worker": ["host0:port", "host1:port"]}, '
                '"task": {"type": "worker", "index": 0}}, but is '
                f"{os.environ['TF_CONFIG']!r}."
            ) from error
        if len(names) == 1:
            return cls()
        strategy = tf.distribute.MultiWorkerMirroredStrategy(
            resolver, tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout)
        )
        if strategy.num_replicas_in_sync != len(names):
            raise ValueError(
                f"expected one device for each of {len(names)} workers, found "
                f"{strategy.num_replicas_in_sync} in all: start a worker for each GPU, with "
                "CUDA_VISIBLE_DEVICES naming it."
            )
        return cls(strategy, index, len(names))

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function, in which `sum` may be used."""
        if self.strategy is None:
            return function(*arguments)
        return self.strategy.run(function, arguments)

    def sum(self, values: Any) -> Any:
        """Adds up each tensor of a nest over all workers; only within `run`."""
        if self.strategy is None:
            return values
        # Copies, as what comes from outside of the function is on no device that it knows of.
        flat = [tf.identity(value) for value in tf.nest.flatten(values)]
        context = tf.distribute.get_replica_context()
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, flat)
        return tf.nest.pack_sequence_as(values, summed)

    def broadcast(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Gives each worker the chief's arrays, whose shapes and dtypes all have."""
        if self.strategy is None:
            return list(arrays)
        own = [array if self.is_chief else np.zeros_like(array) for array in arrays]
        return [
            # Collectives know few integers; these hold all the others.
            self._sum_now(array.astype(_carrier(array.dtype))).astype(array.dtype)
            for array in own
        ]

    def check_agreement(self, text: str, what: str) -> None:
        """Compares a text with those of the other workers.

        Raises:
            ValueError: They differ, which all workers raise.
        """
        if self.strategy is None:
            return
        digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.int64)
        table = np.zeros((self.count, len(digest)), np.int64)
        table[self.index] = digest
        table = self._sum_now(table)
        others = np.flatnonzero((table != table[0]).any(axis=1))
        if others.size:
            named = ", ".join(map(str, others))
            raise ValueError(f"worker(s) {named} have {what} that differ from those of worker 0.")

    @contextmanager
    def telling_losses(self) -> Iterator[None]:
        """Says in plain words that another worker is gone, where TensorFlow says how it noticed.

        Raises:
            WorkerLost: Another worker has stopped.
        """
        try:
            yield
        except _LOST as error:
            if self.strategy is None:
                raise
            found = re.search(r"task:(\d+)", error.message)
            raise WorkerLost(
                f"worker {self.index} of {self.count} stops, as "
                f"{f'worker {found[1]}' if found else 'another one'} no longer answers: look there "
                "for the cause, then start all of them again to go on from the last checkpoint."
            ) from error

    def _sum_now(self, array: np.ndarray) -> np.ndarray:
        add = tf.function(lambda value: self.strategy.run(self.sum, (value,)), autograph=False)
        return add(tf.constant(array)).numpy()


def _carrier(dtype: np.dtype) -> Any:
    return np.int64 if np.issubdtype(dtype, np.integer) else dtype
