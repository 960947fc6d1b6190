"""Models in a browser: paste a text and see what they answer, one beside another.

    from spanbert_tf.playground import launch
    launch(["runs/entities/adapter", "runs/sentiment/adapter"])  # in a notebook, on Colab too

`spanbert-tf playground` is the same from the command line.  `models` says what is asked and how
answers look, `page` makes the page, with Gradio.
"""

from spanbert_tf.playground.page import launch, make_page

__all__ = ["launch", "make_page"]
