"""Apache Beam: pipelines that one of its runners works off, on one machine or many."""

from collections.abc import Sequence
from typing import Any

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "A runner needs Apache Beam: pip install 'spanbert-tf[beam]'.", name="apache_beam"
    ) from error

__all__ = ["beam", "pipeline_of"]


def pipeline_of(runner: str, options: Sequence[str] = ()) -> Any:
    """Makes an empty pipeline, which runs where a `with` block of it ends.

    Args:
        runner: Name of the runner, such as `FlinkRunner`.
        options: Further options of the pipeline, such as `["--flink_master=host:8081"]`.
    """
    return beam.Pipeline(options=PipelineOptions([f"--runner={runner}", *options]))
