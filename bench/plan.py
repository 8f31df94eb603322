# SPDX-License-Identifier: BSD-3-Clause
"""What a long benchmark still has to do, for a progress bar that tells the truth, and for keeping to its time."""

import contextlib
import sys
import time

BAR_CELLS = 24
GUESS_SECONDS = 4  # of a step of a kind of which none was done yet
WIDTH = 118


class Plan:
    """Steps of several kinds. EXPECTED: how many of each kind there will be, as far as is known; GUESSES: seconds that
    one takes, until some were done. LIMIT: seconds that all may take, None for no limit."""

    def __init__(self, expected, guesses=None, limit=None, to=sys.stderr, clock=time.monotonic):
        self._expected = dict(expected)
        self._guesses = guesses or {}
        self._done = {}  # kind -> [how many, seconds]
        self._limit, self._to, self._clock = limit, to, clock
        self._start = clock()
        self._terminal = to.isatty()

    def elapsed(self):
        return self._clock() - self._start

    def _seconds_each(self, kind):
        count, seconds = self._done.get(kind, (0, 0))
        guess = self._guesses.get(kind, GUESS_SECONDS)
        # The guess counts as one step, so that one odd step does not make the forecast jump.
        return (guess + seconds) / (1 + count)

    def left(self):
        """Seconds, as far as is known."""
        return sum(max(0, expected - self._done.get(kind, (0, 0))[0]) * self._seconds_each(kind)
                   for kind, expected in self._expected.items())

    def late(self):
        """Whether all that is planned would take longer than it may."""
        return self._limit is not None and self.elapsed() + self.left() > self._limit

    def change(self, kind, more):
        """There are so many MORE steps of a kind than was thought (fewer: below 0)."""
        self._expected[kind] = max(0, self._expected.get(kind, 0) + more)

    @contextlib.contextmanager
    def step(self, kind, what):
        self._show(what)
        start = self._clock()
        try:
            yield
        finally:
            count, seconds = self._done.get(kind, (0, 0))
            self._done[kind] = count + 1, seconds + self._clock() - start

    def _show(self, what):
        left, elapsed = self.left(), self.elapsed()
        share = elapsed / (elapsed + left) if elapsed + left > 0 else 1
        cells = round(BAR_CELLS * share)
        line = f"[{'#' * cells}{'.' * (BAR_CELLS - cells)}] {100 * share:3.0f} %, {duration(left)} left: {what}"
        if self._terminal:
            print("\r" + line[:WIDTH].ljust(WIDTH), end="", file=self._to, flush=True)
        else:
            print(line, file=self._to, flush=True)

    def close(self):
        if self._terminal:
            print("\r" + " " * WIDTH + "\r", end="", file=self._to, flush=True)


def duration(seconds):
    """Seconds for people: "40 s", "12 min"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
