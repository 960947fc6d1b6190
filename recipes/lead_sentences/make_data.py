"""Lead sentences: from an article without its first paragraph, that paragraph's first sentence.

    python recipes/lead_sentences/make_data.py ../shared/data/pretrain_en runs/lead/data

reads articles, plain or gzipped text with a paragraph a line and an empty line after each article,
and writes `train.jsonl`, `validation.jsonl` and `test.jsonl` with the keys `source` and `target`.
An article is in one of them alone, and in the same one whatever else is read.  Prints what was left
out, and the figures that texts taken from the source as they stand have on the test.
"""

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from spanbert_tf import load_tokenizer
from spanbert_tf.data.batching.target_texts import too_long
from spanbert_tf.data.corpus.documents import corpus_files, whole_documents
from spanbert_tf.handles import default_encoder
from spanbert_tf.metrics.generation import generation_scores

# Of 20 articles.
PARTS = ["test", "validation", *["train"] * 18]
LEAST_WORDS_OF_LEAD, LEAST_WORDS_OF_SOURCE = 5, 40

_END = re.compile(r"[.!?][\"')\u201d\u2019]*(?=\s+[\"'(\u201c\u2018]?[A-Z0-9]|\s*$)")
_ABBREVIATION = re.compile(r"\b(?:[A-Za-z]|[A-Z][a-z]{1,2}|(?:\w\.)+\w|Prof|Sept|ca|vs)\.$")

Pair = tuple[str, str]


def sentences(paragraph: str) -> list[str]:
    """Parts a paragraph into sentences; what does not end like one is left out at its end.

    None ends within brackets or, but for the last, after an initial or what may be an abbreviation.
    """
    found, start = [], 0
    for match in _END.finditer(paragraph):
        sentence = paragraph[start : match.end()].strip()
        is_open = sentence.count("(") > sentence.count(")") or _ABBREVIATION.search(sentence)
        if not is_open or not paragraph[match.end() :].strip():
            found.append(sentence)
            start = match.end()
    return found


def pair_of(paragraphs: Sequence[str], most_words: int) -> Pair | str:
    """The source and the lead sentence of an article, or why it has none.

    Args:
        paragraphs: Those of the article.
        most_words: Whole sentences of the source are kept while they have no more words.
    """
    lead = next(iter(sentences(paragraphs[0])), "")
    is_rest = lead[:1].islower() or lead.count(")") > lead.count("(")
    if is_rest or len(lead.split()) < LEAST_WORDS_OF_LEAD:
        return f"it begins with no whole sentence of {LEAST_WORDS_OF_LEAD} words or more"
    kept: list[str] = []
    count = 0
    for sentence in (one for paragraph in paragraphs[1:] for one in sentences(paragraph)):
        count += len(sentence.split())
        if count > most_words:
            break
        kept.append(sentence)
    source = " ".join(kept)
    if len(source.split()) < LEAST_WORDS_OF_SOURCE:
        return f"fewer than {LEAST_WORDS_OF_SOURCE} words in sentences after the first paragraph"
    if lead in source:
        return "the lead sentence stands in the source, too"
    return source, lead


def part_of(lead: str) -> str:
    """Where an article belongs, by its lead sentence alone."""
    number = int.from_bytes(hashlib.sha256(lead.encode()).digest()[:8], "big")
    return PARTS[number % len(PARTS)]


def make_pairs(articles: Iterable[list[str]], most_words: int) -> tuple[list[Pair], Counter[str]]:
    """Pairs of different leads, and how many articles were left out for which reason."""
    pairs: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for paragraphs in articles:
        found = pair_of(paragraphs, most_words)
        if isinstance(found, str):
            left_out[found] += 1
        elif found[1] in pairs:
            left_out["another article has the same lead sentence"] += 1
        else:
            pairs[found[1]] = found[0]
    return [(source, lead) for lead, source in pairs.items()], left_out


def baselines(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Figures of the whole source, of its first three sentences, and of its first one."""
    sources, leads = zip(*pairs, strict=True)
    firsts = {f"lead-{n}": [" ".join(sentences(of)[:n]) for of in sources] for n in (3, 1)}
    return {name: generation_scores(of, leads) for name, of in ({"copy": sources} | firsts).items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("articles", nargs="+", help="files .txt or .txt.gz, or folders of them")
    parser.add_argument("folder", type=Path, help="where the three files go")
    parser.add_argument("--most-words", type=int, default=200, help="of a source (200)")
    parser.add_argument("--target-length", type=int, default=64, help="finetune's (64)")
    arguments = parser.parse_args()

    articles = chain.from_iterable(map(whole_documents, corpus_files(arguments.articles)))
    pairs, left_out = make_pairs(articles, arguments.most_words)
    most = arguments.target_length - 1
    tokenizer = load_tokenizer(default_encoder())
    long = set(too_long([lead for _, lead in pairs], tokenizer, most).tolist())
    left_out[f"the lead sentence has more than {most} word pieces"] += len(long)

    parts: dict[str, list[Pair]] = {name: [] for name in PARTS}
    for number, (source, lead) in enumerate(pairs):
        if number not in long:
            parts[part_of(lead)].append((source, lead))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, of in parts.items():
        lines = (json.dumps({"source": s, "target": t}, ensure_ascii=False) + "\n" for s, t in of)
        (arguments.folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
        print(f"{len(of):>8,} {name}")
    for reason, count in left_out.most_common():
        print(f"{count:>8,} left out: {reason}")
    if parts["test"]:
        print(f"\n{'on the test':<12}{'BLEU':>8}{'chrF':>8}{'ROUGE-L':>9}")
        for name, scores in baselines(parts["test"]).items():
            bleu, chrf, rouge = (scores[of] for of in ("bleu", "chrf", "rouge_l"))
            print(f"{name:<12}{bleu:>8.2f}{chrf:>8.2f}{rouge:>9.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
