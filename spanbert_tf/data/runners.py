"""Apache Beam: pipelines that one of its runners works off, on one machine or many."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from spanbert_tf.data.readers.lines import DataError

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "A runner needs Apache Beam: pip install 'spanbert-tf[beam]'.", name="apache_beam"
    ) from error

__all__ = ["beam", "pipeline_of"]


@contextmanager
def pipeline_of(runner: str, options: Sequence[str] = ()) -> Iterator[Any]:
    """Gives an empty pipeline, which runs where the `with` block ends.

    Args:
        runner: Name of the runner, such as `FlinkRunner`.
        options: Further options of the pipeline, such as `["--flink_master=host:8081"]`.

    Raises:
        DataError: A worker fails, by whose last words the runner reports it.
        Exception: The runner cannot be reached, or fails in another way.
    """
    try:
        with beam.Pipeline(options=PipelineOptions([f"--runner={runner}", *options])) as pipeline:
            yield pipeline
    except (DataError, RuntimeError) as error:  # Of another process it is a `RuntimeError`.
        raise DataError(_last_words(str(error))) from error


def _last_words(report: str) -> str:
    """What a worker raised, of a runner's report, which ends with it.

    "ValueError: no room [while running 'Answer-ptransform-3']" -> "no room"
    """
    lines = [line.strip() for line in report.splitlines() if line.strip()]
    raised = [line for line in lines if "[while running '" in line]
    last = (raised or lines or ["the runner failed and does not say why"])[-1]
    last = last.partition(" [while running '")[0]
    return re.sub(r"^([\w.]*(Error|Exception): )+", "", last)
