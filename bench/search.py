# SPDX-License-Identifier: BSD-3-Clause
"""Searches for the highest rate, and the longest burst, that is captured without more loss than allowed.

Throughput as RFC 2544 (section 26.1) defines it is the highest offered rate at which no frame is lost. Short trials
narrow it down, long ones confirm it: a ring absorbs for a while what the tool cannot carry for ever, and a trial that
only fills the ring proves nothing. A rate that long trials refute is taken back and the search goes on below it, at
what came through there; from then on all trials are long, and where much was lost from the start they are at once. A
trial that loses a little is repeated once before it is believed, since one accident, such as a disk that stalls, would
bound a tool for good (loss verification of RFC 9004, and the search with trials of several lengths that FD.io's CSIT
does).
"""

import dataclasses
import statistics

ACCIDENT_PERCENT = 10  # who loses more than the limit and this did not lose it by accident


@dataclasses.dataclass
class Found:
    """What a search found: the highest rate that long trials confirmed, None if there was none; the lowest that did not
    hold, None if all did; how many trials that took."""

    held: float | None
    broke: float | None
    trials: int


class Search:
    """Finds the highest of the rates up to FULL at which at most LIMIT percent are lost.

    TRIAL(rate, long) sends at that rate (FULL: as fast as can be) and returns the percentage lost. KNOWN are
    (rate, percentage lost) of short trials that were done before. The result is within PRECISION (a part of 1) of the
    border, and was confirmed by CONFIRMATIONS long trials. After MOST_TRIALS, the highest rate below all that broke
    which can be confirmed at once is taken.
    """

    def __init__(self, trial, full, limit, known=(), lowest=None, precision=0.03, confirmations=2, most_trials=24):
        self._trial, self._full, self._limit = trial, full, limit
        self._known = list(known)
        self._lowest = lowest if lowest is not None else full / 100
        self._precision, self._confirmations, self._most = precision, confirmations, most_trials
        self.trials = 0

    def _lost(self, rate, long):
        self.trials += 1
        lost = self._trial(rate, long)
        self._known.append((rate, lost))
        return lost

    def _holds(self, rate, long):
        lost = self._lost(rate, long)
        if self._limit < lost <= self._limit + ACCIDENT_PERCENT:
            lost = self._lost(rate, long)
        return lost <= self._limit

    def _confirmed(self, rate, before=0):
        """Whether RATE holds in as many long trials as are wanted, less those BEFORE."""
        return all(self._holds(rate, True) for _ in range(self._confirmations - before))

    def _bracket(self):
        """The highest rate that held and the lowest that did not, of those known. What lost a little is tried once
        more, from below; if it loses again, what held above it was luck."""
        lossy = sorted((rate, lost) for rate, lost in self._known if lost > self._limit)
        broke = next((rate for rate, lost in lossy if lost > self._limit + ACCIDENT_PERCENT or
                      self._lost(rate, False) > self._limit), None)
        held = max((rate for rate, lost in self._known
                    if lost <= self._limit and (broke is None or rate < broke)), default=None)
        return held, broke

    def _below(self, broke, step):
        """A rate to try below BROKE: lower by STEP at least, and no more than came through there."""
        lost = max((lost for rate, lost in self._known if rate == broke), default=0)
        return max(self._lowest, min(broke * (1 - step), broke * (1 - lost / 100) * (1 - self._precision)))

    def _is_heavy(self, broke):
        return any(rate == broke and lost > self._limit + ACCIDENT_PERCENT for rate, lost in self._known)

    def run(self):
        held, broke = self._bracket()
        # Where much is lost, or a long trial has refuted what short ones held, short ones prove too little.
        long = False
        if broke is None:
            if self._confirmed(self._full):
                return Found(self._full, None, self.trials)
            held, broke, long = None, self._full, True
        elif self._is_heavy(broke):
            held, long = None, True
        while self.trials < self._most:
            held, broke = self._narrow(held, broke, long)
            if held is None:
                break
            # What a long trial has just held is confirmed once by that.
            if self._confirmed(held, 1 if long else 0):
                return Found(held, broke, self.trials)
            held, broke, long = None, held, True
        return self._settle_for_less(broke)

    def _settle_for_less(self, broke):
        for _ in range(3):
            rate = self._below(broke, 0.1)
            if rate >= broke:
                break
            if self._confirmed(rate):
                return Found(rate, broke, self.trials)
            broke = rate
        lower = sorted({rate for rate, lost in self._known if lost <= self._limit and rate < broke}, reverse=True)
        for rate in lower[:2]:
            if self._confirmed(rate):
                return Found(rate, broke, self.trials)
            broke = rate
        return Found(None, broke, self.trials)

    def _narrow(self, held, broke, long):
        """Halves the distance between what holds and what does not until it is small enough."""
        if held is None:
            # Nothing is known below: what came through is a first guess, then ever farther down.
            step = 2 * self._precision
            held = self._below(broke, step)
            while not self._holds(held, long):
                if held <= self._lowest or self.trials >= self._most:
                    return None, held
                broke, step = held, min(2 * step, 0.5)
                held = self._below(broke, step)
        while broke / held > 1 + self._precision and self.trials < self._most:
            middle = (held * broke) ** 0.5
            if self._holds(middle, long):
                held = middle
            else:
                broke = middle
        return held, broke


def longest_burst(absorbed, shortest, limit, precision=0.1):
    """The most frames, up to LIMIT, that ABSORBED(frames) says were captured without a loss; None if not even SHORTEST
    were. RFC 2544 section 26.4."""
    if absorbed(limit):
        return limit
    held, broke = None, limit
    frames = shortest
    while frames < limit:
        if not absorbed(frames):
            broke = frames
            break
        held = frames
        frames *= 4
    if held is None:
        return None
    while broke / held > 1 + precision:
        middle = int((held * broke) ** 0.5)
        if middle <= held:
            break
        if absorbed(middle):
            held = middle
        else:
            broke = middle
    return held


def spread(values):
    """Of what repeated searches found, one that was found (the median, of an even number the lower), the least and the
    most. None counts as nothing at all."""
    numbers = sorted(0 if value is None else value for value in values)
    return (statistics.median_low(numbers) or None), numbers[0], numbers[-1]
