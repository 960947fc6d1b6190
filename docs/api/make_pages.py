"""Writes the API pages, HTML made from docstrings by pdoc; a warning is an error.

python docs/api/make_pages.py build/docs
"""

import os
import re
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pdoc
import pdoc.docstrings
import pdoc.render

import spanbert_tf

# What users call, and what those who add a task build on.
MODULES = (
    "spanbert_tf",
    *(f"spanbert_tf.{name}" for name in ("features", "handles", "legacy", "settings")),
    *("spanbert_tf.layers", "spanbert_tf.metrics"),
    *("spanbert_tf.models.decoding", "spanbert_tf.models.task"),
    *("spanbert_tf.models.text_preprocessor", "spanbert_tf.tasks.decoders"),
    *("spanbert_tf.data.batching.pretraining", "spanbert_tf.data.batching.rows"),
    *("spanbert_tf.data.readers", "spanbert_tf.search", "spanbert_tf.training"),
)
# Keras' own headings, beside Google's.
pdoc.docstrings.GOOGLE_LIST_SECTIONS += ["Call arguments", "Inputs", "Outputs"]
_google = pdoc.docstrings.google
# In `**kwargs:` the stars are none of Markdown's.
pdoc.docstrings.google = lambda text: _google(
    re.sub(r"^( +)\*\*(?=\w+:)", r"\1\\*\\*", text, flags=re.M)
)


def write_pages(folder: Path) -> list[Path]:
    """Writes the pages.

    Args:
        folder: Where; pages that are there are replaced.

    Returns:
        The pages.

    Raises:
        UserWarning: pdoc cannot import a module, or resolve an annotation.
        ValueError: Something public has no page, or markup is shown as it was typed.
    """
    pdoc.render.configure(
        docformat="google",
        template_directory=Path(__file__).parent,
        include_undocumented=False,
        search=False,
        show_source=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pdoc.pdoc(*MODULES, output_directory=folder)
    pages = sorted(folder.rglob("*.html"))
    front = (folder / "spanbert_tf.html").read_text("utf-8")
    public = [name for name in spanbert_tf.__all__ if not name.startswith("_")]
    missing = [name for name in public if f'id="{name}"' not in front]
    if missing:
        raise ValueError(f"no documentation of {', '.join(missing)}")
    for page in pages:
        # Without headings, of which some have the same words.
        docstrings = re.findall(
            r'<div class="docstring">(.*?)</div>', page.read_text("utf-8"), re.S
        )
        text = re.sub(r"<h6.*?</h6>|<[^>]*>", "", "\n".join(docstrings), flags=re.S)
        if stray := re.search(r"^.*(?:(?:Args|Raises|Returns|Yields):$).*$", text, re.M):
            raise ValueError(f"{page.name} shows markup: {stray[0].strip()!r}")
    return pages


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs")
    print(f"{len(write_pages(target))} pages: {target / 'spanbert_tf.html'}")
