"""How a corpus is prepared.  Imports nothing heavy, so that the command line may show it."""

from dataclasses import dataclass

from spanbert_tf.setting_fields import Range, Settings, at_least, setting

UNDECODABLE = ("strict", "replace")


@dataclass(frozen=True)
class CorpusSettings(Settings):
    """Settings that decide the contents of a prepared corpus."""

    sequence_length: int = setting(
        512,
        int,
        "most tokens of a block, [CLS] and [SEP] counted",
        Range("from 3 to 65535", lambda x: 3 <= x <= 65_535),
    )
    shard_bytes: int = setting(
        16 << 20, int, "bytes of text after which a new shard begins", at_least(1)
    )
    text_key: str = setting("text", str, "key of the text in JSON lines")
    undecodable: str = setting(
        "strict",
        str,
        "what to do where a file is not UTF-8: strict: stop; replace: leave it out",
        choices=UNDECODABLE,
    )
