"""The tasks that come trained: adapters of the default encoder, in a checkout of this project.

`spanbert_tf.load_task("entities_en")` and `spanbert-tf predict entities_en` know them by name.
"""

from pathlib import Path

SHIPPED_MODELS = Path(__file__).resolve().parents[1] / "saved_models"


def ready_models() -> dict[str, Path]:
    """Finds the models whose names are handles.

    Returns:
        Their folders by name; none where the package is installed without a checkout.
    """
    folders = sorted((SHIPPED_MODELS / "adapters").glob("*/"))
    return {folder.name: folder for folder in folders}


def summary_of(folder: Path) -> str:
    """What a model is, in a sentence: the first paragraph of its card."""
    paragraphs = (folder / "README.md").read_text("utf-8").split("\n\n")
    return " ".join(paragraphs[1].split())
