"""How a server treats requests.  Imports nothing heavy: the command line reads it."""

from dataclasses import dataclass

from spanbert_tf.setting_fields import ABOVE_0, NOT_BELOW_0, Settings, at_least, setting


@dataclass(frozen=True)
class ServerSettings(Settings):
    """How requests are joined, and what is too much."""

    max_batch_size: int = setting(
        32, int, "texts that a model answers at once; requests with more are parted", at_least(1)
    )
    batch_timeout_ms: float = setting(
        1.0,
        float,
        "milliseconds that a text waits for others to join it while the model has nothing to do",
        NOT_BELOW_0,
    )
    max_queue: int = setting(
        1024,
        int,
        "texts that may wait for a model, and requests that may be read at once; what is more is "
        "refused with status 429",
        at_least(1),
    )
    max_body_bytes: int = setting(
        4 * 2**20, int, "size of a request's body, above which it is refused with 413", at_least(1)
    )
    body_seconds: float = setting(
        30.0,
        float,
        "seconds that a request's body may take, after which it is refused with 408",
        ABOVE_0,
    )
    max_text_length: int = setting(
        100_000, int, "characters of a text, above which it is refused with 413", at_least(1)
    )
    poll_seconds: float = setting(
        1.0,
        float,
        "seconds between two looks for new version folders; 0: there are no more looks",
        NOT_BELOW_0,
    )
    grace_seconds: int = setting(
        30, int, "seconds that requests have to be answered when the server is stopped", at_least(1)
    )
