"""What a client is told when it gets no answer."""

TOO_SLOW = 408


class RequestError(Exception):
    """A request is refused.

    Attributes:
        status: HTTP's number for it.
        message: What the client is told.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def wrong(message: str) -> RequestError:
    """400: the request is not what was expected."""
    return RequestError(400, message)


def not_found(message: str) -> RequestError:
    """404: there is no such model or version."""
    return RequestError(404, message)


def too_slow(message: str) -> RequestError:
    """408: the request was not there in time."""
    return RequestError(TOO_SLOW, message)


def too_large(message: str) -> RequestError:
    """413: the request will never be answered, as it is too large."""
    return RequestError(413, message)


def too_many(message: str) -> RequestError:
    """429: the request may be answered later."""
    return RequestError(429, message)


def client_is_gone() -> RequestError:
    """499, as nginx has it: for the metrics alone, as nobody is there to be told."""
    return RequestError(499, "the client is gone")
