"""What a start costs: `import spanbert_tf` beyond `import tensorflow, keras_hub`; a first answer.

    python benchmarks/import_time.py [--rounds 7]

Fresh processes in turn; also with every public name used, which is when its modules load.  The
first answer is that of `spanbert-tf predict entities_en` for a sentence, from nothing to its last
line.
"""

import argparse
import os
import subprocess
import sys

import numpy as np
from _support import Goal, machine, report_goals, time_in_turn

from spanbert_tf.ready_models import EXAMPLES

# Seconds.
GOAL = 0.15
ANSWER_GOAL = 8.0
ANSWER = "spanbert-tf predict entities_en"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()

    base = "import tensorflow, keras_hub"
    every_name = "import spanbert_tf; [getattr(spanbert_tf, n) for n in spanbert_tf.__all__]"
    programs = {
        base: ["-c", base],
        f"{base}, spanbert_tf": ["-c", f"{base}, spanbert_tf"],
        f"{base}; every public name": ["-c", f"{base}; {every_name}"],
        ANSWER: ["-m", "spanbert_tf", "predict", "entities_en", *EXAMPLES["entities_en"]],
    }
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def start(program: list[str]) -> None:
        subprocess.run(
            [sys.executable, *program], env=environment, check=True, stdout=subprocess.DEVNULL
        )

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
    answer = float(np.median(seconds[ANSWER]))
    return report_goals(
        [
            Goal("import of the package", more, GOAL, "{:.2f} s", at_most=True),
            Goal("a first answer", answer, ANSWER_GOAL, "{:.2f} s", at_most=True),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
