"""Ctrl-C while Ray Tune runs: heard at once, and trials under way end at once. A second one leaves
without waiting."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def on_ctrl_c(act: Callable[[], None]) -> Iterator[None]:
    """A block in which Ctrl-C calls `act`, in a thread: a handler must not print or call Ray, it
    may have cut in while they were busy."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        threading.Thread(target=act, daemon=True).start()
        if signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:  # Tune is not there yet to be told
            raise KeyboardInterrupt
        # what Tune ends its loop on; its own handler of Ctrl-C is silent and slow
        signal.raise_signal(signal.SIGUSR1)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
