"""Answers of any task as parts of a page: spans in colours, probabilities as bars."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

MOST_BARS = 5


def html_of(text: str, answer: Any) -> str:
    """Makes a part of a page of what a task answers for a text.

    Args:
        text: The text in which spans count their characters; of a question its context.
        answer: An answer, or a list of them.

    Returns:
        What the answer itself has as `to_html`; else the text with its spans in colours, or the
        answer in words, with probabilities as bars.
    """
    if hasattr(answer, "to_html"):
        return answer.to_html()
    if hasattr(answer, "tolist"):
        first = ", ".join(f"{number:.4f}" for number in answer.tolist()[:3])
        return f"<p>{first}, ... ({len(answer)} numbers)</p>"
    if not isinstance(answer, list):
        parts = [f"<p>{escape(str(answer))}</p>"]
        if hasattr(answer, "probabilities"):
            parts.append(bars(answer.probabilities.items()))
        if hasattr(answer, "start"):
            parts.append(_in_colours(text, [answer]))
        return "\n".join(parts)
    spans = [one for one in answer if hasattr(one, "start")]
    if len(spans) < len(answer):
        return "".join(f"<p>{escape(str(one))}</p>" for one in answer)
    return _in_colours(text, spans)


def bars(probabilities: Iterable[tuple[str, float]]) -> str:
    """The highest of some probabilities, each with its name and as long as it is high."""
    best = sorted(probabilities, key=lambda item: -item[1])[:MOST_BARS]
    rows = [
        f"<div>{escape(name)}</div>"
        f'<div style="width: {100 * value:.1f}%; height: 0.7em; border-radius: 3px; '
        f'background: hsl(215, 60%, 60%)"></div>'
        f"<div>{value:.3f}</div>"
        for name, value in best
    ]
    grid = "display: grid; grid-template-columns: max-content 12em max-content"
    body = "\n".join(rows)
    return f'<div style="{grid}; gap: 2px 10px; align-items: center">\n{body}\n</div>'


def _in_colours(text: str, spans: Sequence[Any]) -> str:
    hues: dict[str, int] = {}
    parts, at = [], 0
    for span in sorted(spans, key=lambda one: one.start):
        if span.start == span.end:  # No answer.
            continue
        group = getattr(span, "entity_group", "")
        # The golden angle parts the hues of groups that follow one another.
        hue = hues.setdefault(group, round(len(hues) * 137.508) % 360)
        style = f"background: hsl({hue}, 75%, 88%); color: black"
        style += "; border-radius: 3px; padding: 0 2px"
        inner = escape(text[span.start : span.end])
        if group:
            inner += f" <small>{escape(group)}</small>"
        title = escape(str(span), quote=True)
        parts += [escape(text[at : span.start]), f'<span style="{style}" title="{title}">{inner}']
        parts.append("</span>")
        at = span.end
    body = "".join(parts) + escape(text[at:])
    return f'<div style="white-space: pre-wrap; line-height: 1.9">{body}</div>'
