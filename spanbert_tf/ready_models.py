"""The tasks that come trained: adapters of the default encoder, in a checkout of this project.

`spanbert_tf.load_task("entities_en")` and `spanbert-tf predict entities_en` know them by name.
"""

import json
from pathlib import Path

# What each is asked in a demo: as many texts as it takes at a time.
EXAMPLES = {
    "coreference_en": ("Ann told her brother that she had won, and he believed her.",),
    "embeddings_en": ("The waiter was rude.",),
    "entities_en": ("Ada Lovelace met Charles Babbage in London.",),
    "intents_banking_en": ("My card has not arrived yet.",),
    "questions_en": (
        "Who wrote the first program?",
        "Ada Lovelace wrote the first program in 1843.",
    ),
    "relations_en": ("The <e1>author</e1> wrote it with a <e2>typewriter</e2>.",),
    "sentiment_en": ("I don't regret a single minute of it.",),
}

ADAPTER_FILE = "adapter.json"  # Here, as `spanbert_tf.handles` imports Keras.

SHIPPED_MODELS = Path(__file__).resolve().parents[1] / "saved_models"


def ready_models() -> dict[str, Path]:
    """Finds the models whose names are handles.

    Returns:
        Their folders by name; none where the package is installed without a checkout.
    """
    files = sorted((SHIPPED_MODELS / "adapters").glob(f"[!.]*/{ADAPTER_FILE}"))
    return {file.parent.name: file.parent for file in files}


def summary_of(folder: Path) -> str:
    """What a model is, in a sentence: the first paragraph of its card, if it has one."""
    card = folder / "README.md"
    paragraphs = card.read_text("utf-8").split("\n\n") if card.is_file() else []
    return " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else "It has no card."


def task_of(folder: Path) -> str:
    """The task of a model."""
    return json.loads((folder / ADAPTER_FILE).read_text("utf-8"))["task"]


def example_of(name: str) -> str:
    """The command that asks a model its example."""
    texts = " ".join(f'"{text}"' for text in EXAMPLES.get(name, ("...",)))
    return f"spanbert-tf predict {name} {texts}"
