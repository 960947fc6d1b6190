"""Figures of texts that were written: BLEU, chrF and ROUGE-L, by the libraries that define them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

FIGURES = ("bleu", "chrf", "rouge_l")
AVERAGES = (
    "bleu and chrf are of the whole corpus, as sacrebleu has them by default; rouge_l is the mean "
    "F-measure of all texts, as rouge-score has it, times 100"
)


def require_scorers() -> tuple[Any, Any]:
    """Imports sacrebleu, and rouge-score's scorers.

    Raises:
        ModuleNotFoundError: One is not installed.
    """
    try:
        import sacrebleu
        from rouge_score import rouge_scorer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"scores of texts need the module {error.name!r}: pip install "
            "'spanbert-tf[generation]'",
            name=error.name,
        ) from error
    return sacrebleu, rouge_scorer


def generation_scores(texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Scores texts, each against one reference.

    Args:
        texts: The texts that were written.
        references: What people wrote.

    Returns:
        From 0 to 100: `bleu` (Papineni et al., 2002; cased, tokenised by sacrebleu's `13a`: Post,
        2018), `chrf` (Popović, 2015) and `rouge_l` (Lin, 2004; of words of ASCII letters
        and digits in lower case, without stemming).

    Raises:
        ValueError: There are not as many of both, or none.
        ModuleNotFoundError: sacrebleu or rouge-score is not installed.
    """
    if len(texts) != len(references) or not texts:
        raise ValueError(
            f"Expected as many `references` as `texts`, one at least, found {len(references)} and "
            f"{len(texts)}."
        )
    sacrebleu, _ = require_scorers()
    overlaps = [*map(text_scorer("rouge_l"), texts, references)]
    return {
        "bleu": sacrebleu.corpus_bleu(list(texts), [list(references)]).score,
        "chrf": sacrebleu.corpus_chrf(list(texts), [list(references)]).score,
        "rouge_l": sum(overlaps) / len(overlaps),
    }


def text_scorer(figure: str) -> Callable[[str, str], float]:
    """Makes what scores one text against its reference, from 0 to 100.

    Args:
        figure: One of `FIGURES`.  BLEU is that of a sentence as sacrebleu has it: of the n-grams
            that the text is long enough for, with smoothed precisions (Chen and Cherry, 2014).

    Raises:
        ModuleNotFoundError: sacrebleu or rouge-score is not installed.
    """
    sacrebleu, rouge_scorer = require_scorers()
    if figure == "rouge_l":
        rouge = rouge_scorer.RougeScorer(["rougeL"])
        return lambda text, reference: 100 * rouge.score(reference, text)["rougeL"].fmeasure
    scorer = {
        "bleu": partial(sacrebleu.BLEU, effective_order=True),
        "chrf": sacrebleu.CHRF,
    }[figure]()
    return lambda text, reference: scorer.sentence_score(text, [reference]).score
