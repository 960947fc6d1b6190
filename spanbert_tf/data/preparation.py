"""How a corpus is prepared.  Imports nothing heavy, so that the command line may show it."""

from dataclasses import dataclass, field

UNDECODABLE = ("strict", "replace")


@dataclass(frozen=True)
class Preparation:
    """Settings that decide the contents of a prepared corpus.

    Each field explains itself to the command line: `field.metadata`, of `dataclasses.fields`, has
    its `type`, `help` and, where they are few, its `choices`.

    Raises:
        ValueError: A setting is out of its range.
    """

    sequence_length: int = field(
        default=512,
        metadata={"type": int, "help": "most tokens of a block, [CLS] and [SEP] counted"},
    )
    shard_bytes: int = field(
        default=16 << 20,
        metadata={"type": int, "help": "bytes of text after which a new shard begins"},
    )
    text_key: str = field(
        default="text",
        metadata={"type": str, "help": "key of the text in JSON lines"},
    )
    undecodable: str = field(
        default="strict",
        metadata={
            "type": str,
            "help": "what to do where a file is not UTF-8: strict: stop; replace: leave it out",
            "choices": UNDECODABLE,
        },
    )

    def __post_init__(self) -> None:
        for name, fits, expected in (
            ("sequence_length", 3 <= self.sequence_length <= 65_535, "from 3 to 65535"),
            ("shard_bytes", self.shard_bytes >= 1, "at least 1"),
            ("undecodable", self.undecodable in UNDECODABLE, f"one of {UNDECODABLE}"),
        ):
            if not fits:
                raise ValueError(f"`{name}` must be {expected}, but is {getattr(self, name)!r}.")
