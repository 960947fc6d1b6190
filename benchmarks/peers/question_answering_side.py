"""transformers as a side of `question_answering.py`: answers of a file's questions.

python question_answering_side.py CHECKPOINT FILE pipeline|batched LENGTH STRIDE
"""

import json
import sys
from pathlib import Path

from _protocol import fastest, serve
from _pytorch import use_all_cores_quietly
from _question_answering import QuestionAnswerer

PACKAGES = ("torch", "transformers")
BATCH_SIZES = (8, 16, 32)


def main() -> None:
    checkpoint, file, way, length, stride = sys.argv[1:]
    use_all_cores_quietly()
    columns = json.loads(Path(file).read_text("utf-8"))
    answerer = QuestionAnswerer(checkpoint, int(length), int(stride))
    if way == "pipeline":
        serve(lambda: answerer.answers_one_by_one(*columns), *PACKAGES)
    else:
        some = [column[:64] for column in columns]
        batch_size = fastest(lambda size: answerer.answers(*some, size), BATCH_SIZES)
        serve(lambda: answerer.answers(*columns, batch_size), *PACKAGES, batch_size=batch_size)


if __name__ == "__main__":
    main()
