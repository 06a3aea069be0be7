"""Choosing the entries for the frames of a drive: with hysteresis, a fallback and a token budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from edgekit.core.errors import UserError
from edgekit.library.compose import Prompt, assemble
from edgekit.library.entries import Entry, Library
from edgekit.library.tokens import tokens_of


class Selector:
    """The prompts of one drive's frames, asked for in order.

    budget_tokens: the most that a prompt's text may cost, with ``picture_tokens`` for a further picture; None:
    no limit. hold_frames: an entry that came in stays at least so many frames. release_frames: it goes only after
    its condition was absent for so many in a row. It comes in at once: a light that is seen must be asked about
    now. count: tokens of a text (the rule of ``tokens_of``; pass the model's own tokenizer where it is at hand).

    After each frame ``dropped`` names what the budget left out (``night``, or ``night (examples)``);
    ``drops`` counts that over the drive. Raises UserError where the default prompt alone is over the budget.
    """

    def __init__(
        self,
        library: Library,
        budget_tokens: int | None = None,
        hold_frames: int = 5,
        release_frames: int = 3,
        picture_tokens: int = 0,
        count: Callable[[str], int] = tokens_of,
    ):
        if hold_frames < 1 or release_frames < 1:
            raise ValueError(
                f"hold_frames {hold_frames} and release_frames {release_frames} must be 1 or more"
            )
        self.library, self.budget, self.count = library, budget_tokens, count
        self.hold, self.release, self.picture_tokens = hold_frames, release_frames, picture_tokens
        self.dropped: tuple[str, ...] = ()
        self.drops: Counter[str] = Counter()
        self._stays: dict[str, int] = {}  # id -> frames that it has been in
        self._absent: dict[str, int] = {}  # id -> frames in a row that lacked its condition
        always = [entry for entry in library.entries if not entry.when]
        least = self._cost(assemble(library, always, without_examples={entry.id for entry in always}))
        if budget_tokens is not None and least > budget_tokens:
            raise UserError(
                f"prompt library {library.id!r}: the budget is too small",
                f"what is always said costs {least} tokens, and the budget is {budget_tokens}",
                f"give at least {least}, or a shorter library",
            )

    def next(
        self,
        context: Iterable[str] | None,
        values: Mapping[str, str] | None = None,
        aids: Collection[str] = (),
    ) -> Prompt:
        """The prompt of the next frame.

        context: what is known of it; an empty one says that somebody looked and found nothing. None: nothing is
        known, so what is held stays, and where nothing is held the fallback is said (``when: [nothing]``).
        values, aids: as ``compose`` takes them.
        """
        if context is not None:
            self._step(frozenset(context) - {"nothing"})
        known = frozenset({"nothing"}) if context is None and not self._stays else frozenset()
        chosen = [entry for entry in self.library.entries if entry.id in self._stays or entry.fits(known)]
        return self._within(chosen, values, aids)

    def _step(self, known: frozenset[str]) -> None:
        """One frame on: who comes, who stays, who goes."""
        for entry in self.library.entries:
            if not entry.when:
                continue
            if entry.fits(known):
                self._stays[entry.id] = self._stays.get(entry.id, 0) + 1
                self._absent[entry.id] = 0
            elif entry.id in self._stays:
                self._absent[entry.id] += 1
                if self._stays[entry.id] >= self.hold and self._absent[entry.id] >= self.release:
                    del self._stays[entry.id], self._absent[entry.id]
                else:
                    self._stays[entry.id] += 1

    def _within(self, chosen: list[Entry], values: Mapping[str, str] | None, aids: Collection[str]) -> Prompt:
        """Leaves out the least important until the prompt fits: first examples, then whole entries."""
        left, bare = list(chosen), set()
        first = sorted(chosen, key=lambda entry: (entry.priority, -entry.order, entry.id))
        cuts = [(entry, True) for entry in first if entry.examples] + [(e, False) for e in first if e.when]
        dropped: list[str] = []
        while True:
            prompt = assemble(self.library, left, values, aids, bare)
            if self.budget is None or self._cost(prompt) <= self.budget:
                break
            if not cuts:  # the aids of what is always said
                prompt = assemble(self.library, left, values, (), bare)
                dropped.append("aids")
                break
            entry, examples_only = cuts.pop(0)
            if examples_only:
                bare.add(entry.id)
                dropped.append(f"{entry.id} (examples)")
            else:
                left.remove(entry)
                dropped = [name for name in dropped if name != f"{entry.id} (examples)"] + [entry.id]
        self.dropped = tuple(dropped)
        self.drops.update(dropped)
        return prompt

    def _cost(self, prompt: Prompt) -> int:
        return self.count(prompt.text) + self.picture_tokens * ("crop" in prompt.aids)
