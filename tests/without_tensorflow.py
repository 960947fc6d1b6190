"""Runs a script as on a machine that has JAX or torch alone: there is no TensorFlow to import.

python tests/without_tensorflow.py SCRIPT [ARGUMENT ...]
"""

import runpy
import sys
from pathlib import Path
from typing import Any

HIDDEN = ("tensorflow", "tensorflow_hub", "tensorflow_text", "tf_keras")


class WithoutHidden:
    """A finder of modules that finds what another does, but for hidden packages."""

    def __init__(self, finder: Any) -> None:
        self.finder = finder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in HIDDEN:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


if __name__ == "__main__":
    sys.meta_path[:] = map(WithoutHidden, sys.meta_path)
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
