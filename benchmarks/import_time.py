"""What `import spanbert_tf` costs beyond `import tensorflow, keras_hub`.

    python benchmarks/import_time.py [--rounds 7]

Fresh processes in turn; also with every public name used, which is when its modules load.
"""

import argparse
import os
import subprocess
import sys

import numpy as np
from _support import Goal, machine, report_goals, time_in_turn

GOAL = 0.15  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()

    base = "import tensorflow, keras_hub"
    every_name = "import spanbert_tf; [getattr(spanbert_tf, n) for n in spanbert_tf.__all__]"
    programs = {
        base: base,
        f"{base}, spanbert_tf": f"{base}, spanbert_tf",
        f"{base}; every public name": f"{base}; {every_name}",
    }
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def start(program: str) -> None:
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)

    seconds = time_in_turn(
        {name: lambda program=program: start(program) for name, program in programs.items()},
        arguments.rounds,
    )
    print(machine("tensorflow", "keras-hub"))
    print(f"{'program':<52}{'seconds':>8}{'more':>8}")
    for name, values in seconds.items():
        more = float(np.median(values - seconds[base]))
        print(f"{name:<52}{np.median(values):>8.2f}{more:>8.2f}")
    more = float(np.median(seconds[f"{base}, spanbert_tf"] - seconds[base]))
    return report_goals([Goal("import of the package", more, GOAL, "{:.2f} s", at_most=True)])


if __name__ == "__main__":
    sys.exit(main())
