"""What all tests share."""

import signal


def pytest_configure() -> None:
    """Ctrl-C works in what the tests start, also where the tests themselves were started in the background.

    A shell ignores SIGINT for background commands, and an ignored signal is inherited by every process below.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
