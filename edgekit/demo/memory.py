"""What the vehicle remembers: the answers of the last moments, and the causal vote over them."""

from __future__ import annotations

from edgekit.core.label import SceneLabel
from edgekit.demo.config import Window
from edgekit.mine import smooth


class Memory:
    """Smooths as ``mine`` does, looking back only: the same function with a one-sided window."""

    def __init__(self, window: Window):
        self.enabled = window.enabled
        self.window = smooth.Window(**window.model_dump(exclude={"enabled"}))
        self._times: list[float] = []
        self._speeds: list[float | None] = []
        self._labels: list[SceneLabel] = []

    def push(self, t_s: float, speed_mps: float | None, label: SceneLabel) -> SceneLabel:
        """The smoothed label of a frame captured at ``t_s``; times rise from call to call."""
        if not self.enabled:
            return label
        self._times.append(t_s)
        self._speeds.append(speed_mps)
        self._labels.append(label)
        while self._times[0] < t_s - self.window.t_max_s:  # no window reaches further back
            del self._times[0], self._speeds[0], self._labels[0]
        first, last = smooth.spans(self._times, self._speeds, self.window, causal=True)[-1]
        return smooth.smooth_one(self._labels[first:last], last - 1 - first)
