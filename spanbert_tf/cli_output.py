"""What the commands answer people; `--json` prints the results themselves."""

from typing import Any


def show_demo(result: dict[str, Any]) -> str:
    """What to do after the demo."""
    return (
        f"Done in {result['seconds']} s. Ask it yourself, or train on your own texts:\n"
        f'  spanbert-tf predict {result["saved_model"]} "..."\n'
        "  spanbert-tf finetune --train my.tsv --output runs/mine"
    )


def show_prepared(result: dict[str, Any]) -> str:
    """What a corpus holds."""
    return (
        f"{result['documents']:,} documents, {result['pieces']:,} word pieces in "
        f"{result['blocks']:,} blocks and {result['shards']:,} shards "
        f"({result['reused']:,} were there already): {result['corpus']}"
    )


def show_pretrained(result: dict[str, Any]) -> str:
    """How a run ended, and what to do with its encoder."""
    if not result["saved_model"]:
        return f"worker {result['worker']} is done; worker 0 has written the encoder."
    lines = [f"{result['steps']:,} steps, {result['tokens']:,} tokens"]
    if result["validation"]:
        figures = {n: v for n, v in result["validation"].items() if n not in ("step", "padding")}
        lines.append("held out: " + ", ".join(f"{name} {v:.4f}" for name, v in figures.items()))
    return "\n".join(
        [
            *lines,
            f"pretrainer (Keras preset): {result['preset']}",
            f"encoder with .mlm and .sbo (SavedModel): {result['saved_model']}",
            "fine-tune it:",
            f"  spanbert-tf finetune --encoder {result['preset']} --train my.tsv",
        ]
    )


def show_figures(figures: dict[str, float]) -> str:
    """Figures in a row."""
    order = ("accuracy", "precision", "recall", "f1", "loss")
    return ", ".join(f"{name} {figures[name]:.4f}" for name in order if name in figures)


def show_evaluated(result: dict[str, Any]) -> str:
    """Figures, and on how many texts."""
    return f"{result['texts']} texts: {show_figures(result)}"


def show_finetuned(result: dict[str, Any]) -> str:
    """How a run went, and what to do with its model."""
    if "table" in result:
        return result["table"]
    lines = [f"trained on {result['train_size']} texts; best epoch: {result['best_epoch']}"]
    if result["validation"]:
        figures = show_figures(result["validation"])
        lines.append(f"validation, {result['validation_size']} texts: {figures}")
    if result["test"]:
        lines.append(f"test, {show_evaluated(result['test'])}")
    return "\n".join(
        [
            *lines,
            f"classifier (Keras preset): {result['classifier']}",
            f"text in, label out (SavedModel): {result['saved_model']}",
            "ask it:",
            f'  spanbert-tf predict {result["saved_model"]} "..."',
        ]
    )


def show_predictions(result: list[dict[str, Any]]) -> str:
    """An answer a line."""
    width = max(len(answer["label"]) for answer in result)
    return "\n".join(
        f"{answer['label']:<{width}}  {answer['score']:.3f}  {_one_line(answer['text'])}"
        for answer in result
    )


def _one_line(text: str, width: int = 100) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 3]}..."
