"""Two entities of a text, marked among its word pieces, by TensorFlow operations alone.

Entities travel as strings beside their text, so that any signature takes them: `"0:3"`, its first
character and the one after its last, or `"0:3:PER"`, with its type.

Letters: b texts, (p) pieces of a text, m marks of an entity.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from spanbert_tf.data.batching.packing import kept_lengths

# What is no entity keeps the word before it, which then is no number.
_NO_NUMBER = "entity "
_PARTS = rf"^{_NO_NUMBER}(\d+):(\d+)(?::(.*))?$"


class Spans(NamedTuple):
    """Entities, one a text.

    Attributes:
        starts: int32 `[b]`, the first character.
        ends: int32 `[b]`, the character after the last.
        types: string `[b]`, empty where none is known.
    """

    starts: tf.Tensor
    ends: tf.Tensor
    types: tf.Tensor


def write_span(start: int, end: int, label: str = "") -> str:
    """Writes an entity for a column: `"0:3:PER"`."""
    return f"{start}:{end}:{label}" if label else f"{start}:{end}"


def read_spans(column: tf.Tensor) -> Spans:
    """Reads a column of entities, string `[b]`; what has another form is TensorFlow's error."""
    column = tf.strings.join([_NO_NUMBER, column])
    start, end, label = (tf.strings.regex_replace(column, _PARTS, rf"\{n}") for n in (1, 2, 3))
    return Spans(tf.strings.to_number(start, tf.int32), tf.strings.to_number(end, tf.int32), label)


class Marked(NamedTuple):
    """Texts with marks.

    Attributes:
        token_ids: int32 `[b, (p)]`.
        entity_starts: int32 `[b, 2]`, the place of the first mark of head and of tail.
        lengths: int32 `[b]`, what the two take with their marks, which is never cut.
    """

    token_ids: tf.RaggedTensor
    entity_starts: tf.Tensor
    lengths: tf.Tensor


def mark_entities(pieces: Any, head: Spans, tail: Spans, marks: tf.Tensor, room: int) -> Marked:
    """Puts marks around two entities, or in their place, and cuts texts around them.

    With two marks an entity stands between them, with one it gives its place to it.  Entities that
    stand between marks may lie within or overlap one another.

        pieces 5 6 7 8 9, head 6 7, tail 9, marks 1 2 and 3 4 -> 5 1 6 7 2 8 3 9 4
                                            marks 1 and 3     -> 5 1 8 3

    Of a text that is too long, both entities are kept, then what is between them, from them inward,
    and then what is around them, the nearest first, as much on both sides as there is.

    Args:
        pieces: `token_ids`, `starts` and `ends`, in characters, each `[b, (p)]`, in order.
        head: The first entity of each text.
        tail: The second one.
        marks: int32 `[b, 2, m]`, ids of the one mark or the two marks of head and of tail.
        room: The most tokens of a text.

    Returns:
        The tokens, at most `room` where `lengths` are.
    """
    starts, ends = (
        tf.stack([getattr(head, of), getattr(tail, of)], 1) for of in ("starts", "ends")
    )
    firsts, lasts = _covered(pieces, starts, ends)
    # Of two entities the one that begins later, of two that begin together the shorter.
    tail_is_outer = (starts[:, 1] < starts[:, 0]) | (
        (starts[:, 1] == starts[:, 0]) & (ends[:, 1] > ends[:, 0])
    )
    is_inner = tf.stack([tail_is_outer, ~tail_is_outer], 1)
    inner = tf.cast(is_inner, tf.int32)
    ids = pieces.token_ids
    if marks.shape[2] == 1:
        ids, firsts = _without_entities(ids, firsts, lasts, is_inner)
        places, order = firsts[..., None], inner[..., None]
    else:
        # Where marks meet, an entity ends before the next begins, and one within another ends
        # before it and begins after it.  One without pieces begins before it ends, too.
        closing = tf.where(lasts > firsts, 1, 5) - inner
        places = tf.stack([firsts, lasts], 2)
        order = tf.stack([2 + inner, closing], 2)
    return _cut(*_insert(ids, marks, places, order), room)


def _covered(pieces: Any, starts: tf.Tensor, ends: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The first piece that shares a character with each entity, and the one after the last.

    Both int32 `[b, 2]`, and the same for an entity that the tokenizer leaves out.
    """
    texts, text_of = pieces.token_ids.nrows(), pieces.token_ids.value_rowids()

    def count(holds: tf.Tensor) -> tf.Tensor:
        return tf.math.unsorted_segment_sum(tf.cast(holds, tf.int32), text_of, texts)

    piece_ends, piece_starts = (
        tf.cast(of.values, tf.int32)[:, None] for of in (pieces.ends, pieces.starts)
    )
    firsts = count(piece_ends <= tf.gather(starts, text_of))
    return firsts, tf.maximum(firsts, count(piece_starts < tf.gather(ends, text_of)))


def _without_entities(
    ids: tf.RaggedTensor, firsts: tf.Tensor, lasts: tf.Tensor, is_inner: tf.Tensor
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Leaves entities out; where each was, int32 `[b, 2]`."""
    text_of, place = ids.value_rowids(), _places(ids)[:, None]
    within = (place >= tf.gather(firsts, text_of)) & (place < tf.gather(lasts, text_of))
    rest = tf.ragged.boolean_mask(ids, ids.with_values(~tf.reduce_any(within, 1)))
    outer_first = tf.reduce_min(firsts, 1, keepdims=True)
    outer_last = tf.reduce_max(tf.where(is_inner, 0, lasts), 1, keepdims=True)
    after = outer_first + tf.maximum(firsts - outer_last, 0)
    return rest, tf.where(is_inner, after, firsts)


def _insert(
    ids: tf.RaggedTensor, marks: tf.Tensor, places: tf.Tensor, order: tf.Tensor
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Puts each mark before the piece of its place, `[b, 2, m]`, those that meet in their order.

    Returns:
        The tokens, `[b, (p)]`, and the places that the marks have got, `[b, 2, m]`.
    """
    shape, count = tf.shape(places), 2 * marks.shape[2]
    marks, places, order = (tf.reshape(of, [-1, count]) for of in (marks, places, order))
    ranks = tf.argsort(tf.argsort(6 * places + order))
    text_of, place = ids.value_rowids(), _places(ids)
    before = tf.gather(places, text_of) <= place[:, None]
    moved = place + tf.reduce_sum(tf.cast(before, tf.int32), 1)
    places += ranks
    splits = tf.cast(ids.row_splits, tf.int32) + count * tf.range(shape[0] + 1)
    begins = splits[:-1]
    tokens = tf.dynamic_stitch(
        [tf.gather(begins, text_of) + moved, begins[:, None] + places], [ids.values, marks]
    )
    marked = tf.RaggedTensor.from_row_splits(tokens, splits, validate=False)
    return marked, tf.reshape(places, shape)


def _cut(tokens: tf.RaggedTensor, places: tf.Tensor, room: int) -> Marked:
    """Cuts texts around entities whose marks are at `places`, `[b, 2, m]`."""
    begins, ends = tf.reduce_min(places, 2), tf.reduce_max(places, 2) + 1
    # The entity that comes first, and what the other has beyond it.
    first = tf.reduce_min(begins, 1)
    first_end = tf.reduce_max(tf.where(begins == first[:, None], ends, 0), 1)
    second = tf.maximum(tf.reduce_max(begins, 1), first_end)
    second_end = tf.reduce_max(ends, 1)

    lengths = first_end - first + second_end - second
    rest = tf.maximum(room - lengths, 0)
    between = tf.minimum(second - first_end, rest)
    after = tf.cast(tokens.row_lengths(), tf.int32) - second_end
    left, right = kept_lengths([first, after], rest - between)
    first, first_end = first - left, first_end + (between + 1) // 2
    second, second_end = second - between // 2, second_end + right

    offsets = tf.cast(tokens.row_starts(), tf.int32)
    sources = tf.concat(
        [
            tf.ragged.range(offsets + first, offsets + first_end),
            tf.ragged.range(offsets + second, offsets + second_end),
        ],
        axis=1,
    )
    gap = tf.where(
        begins < first_end[:, None], first[:, None], (second - first_end + first)[:, None]
    )
    kept = sources.with_values(tf.gather(tokens.values, sources.values))
    return Marked(kept, begins - gap, lengths)


def _places(ids: tf.RaggedTensor) -> tf.Tensor:
    """Each piece's place in its text, int32."""
    return tf.ragged.range(tf.cast(ids.row_lengths(), tf.int32)).values
