"""What each group of annotators says about each pair, as tensors. Shapes: N pairs, G groups of annotators, K heads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from components.errors import DataRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from components.pairs import Pair
    from components.records import Comparison
    from components.reward.groups import Group

EVERYBODY, OTHERS = "everybody", "others"


@dataclass(frozen=True)
class Votes:
    """Pairs, and the labels of each group."""

    pairs: list[Pair]
    """With the labels of all groups."""
    groups: list[str]
    by_group: list[list[Pair | None]]
    """Pair by pair: the same pair with a group's labels only; None where it has none."""
    weights: dict[str, float] = field(default_factory=dict)
    """Group → how much its labels counted at the end of training, adding up to 1; empty before."""

    def only(self, pairs: Sequence[Pair]) -> Votes:
        """The same for some of the pairs."""
        if len(pairs) == len(self.pairs):
            return self
        wanted = {id(pair) for pair in pairs}
        kept = [row for row, pair in enumerate(self.pairs) if id(pair) in wanted]
        return Votes([self.pairs[row] for row in kept], self.groups, [self.by_group[row] for row in kept])

    @property
    def even(self) -> list[float]:
        """The same weight for each group."""
        return [1 / len(self.groups)] * len(self.groups)

    def counted(self, *, heads: int, seed: int) -> Counted:
        """The labels as tensors. Each head of an ensemble has its own bootstrap sample of the pairs, by Poisson counts."""
        share = [[0.5 if part is None else part.share for part in row] for row in self.by_group]
        ties = [[0.0 if part is None else part.ties for part in row] for row in self.by_group]
        strength = [[0.0 if part is None else part.strength for part in row] for row in self.by_group]
        labels = torch.tensor([[0.0 if part is None else part.counts for part in row] for row in self.by_group])
        drawn = torch.ones((1, len(labels), 1))
        if heads > 1:
            generator = torch.Generator().manual_seed(seed)
            drawn = torch.poisson(torch.ones((heads, len(labels), 1)), generator=generator)
        drawn = labels * drawn
        return Counted(torch.tensor(share), torch.tensor(ties), torch.tensor(strength), drawn, drawn.mean(dim=1))

    def by_head(self) -> Counted:
        """The labels as tensors, where each group has a head of its own, which counts that group's labels alone."""
        counted = self.counted(heads=1, seed=0)
        labels = counted.labels * torch.eye(len(self.groups))[:, None]
        return replace(counted, labels=labels, usual=labels.mean(dim=1))


@dataclass(frozen=True)
class Counted:
    """How the labels of a batch fell."""

    share: Tensor
    """(N, G) share of a group's labels that prefer the first answer; a tie counts half."""
    ties: Tensor
    """(N, G) share that are ties."""
    strength: Tensor
    """(N, G) their mean strength, 0 to 1."""
    labels: Tensor
    """(K, N, G) how many labels each head counts, by weight."""
    usual: Tensor
    """(K, G) the same for a pair, on average over all pairs that there are, not these alone."""

    @property
    def amount(self) -> Tensor:
        """(K, G) labels of these pairs over what so many usually have: 1 on average over batches, however rare a group."""
        return self.labels.mean(dim=1) / self.usual.clamp(min=torch.finfo(self.usual.dtype).tiny)

    def rows(self, rows: Sequence[int]) -> Counted:
        """Some of the pairs."""
        found = {name: getattr(self, name)[rows] for name in ("share", "ties", "strength")}
        return replace(self, **found, labels=self.labels[:, rows])

    def to(self, on: torch.device) -> Counted:
        """The same on a device."""
        return Counted(*(getattr(self, name).to(on) for name in ("share", "ties", "strength", "labels", "usual")))


def of_everybody(pairs: Sequence[Pair]) -> Votes:
    """All labels as those of one group."""
    return Votes(list(pairs), [EVERYBODY], [[pair] for pair in pairs])


def groups_of(groups: Mapping[str, Group], attribute: str) -> dict[str, str]:
    """Annotator → group, by one attribute; `groups` as `annotators` wrote them, their names being `ATTRIBUTE: VALUE`.

    Raises:
        DataRefused: No group of this attribute is large enough to be shown.
    """
    prefix = f"{attribute}: "
    found = {person: group for group in sorted(groups) if group.startswith(prefix) for person in groups[group].members}
    if not found:
        known = ", ".join(sorted({group.partition(": ")[0] for group in groups})) or "none"
        message = (
            f"No group of annotators by `{attribute}` is large enough to be shown, so reward.stakeholders can't weigh by it. "
            f"Attributes with such groups: {known}. Choose one of them, or set reward.stakeholders to all."
        )
        raise DataRefused(message)
    return found


def split(comparisons: Iterable[Comparison], group_of: Mapping[str, str]) -> dict[str, list[Comparison]]:
    """Group → its labels, groups by name; whoever is in none is among the others."""
    found: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        found.setdefault(group_of.get(comparison.annotator or "", OTHERS), []).append(comparison)
    return dict(sorted(found.items()))


def of_groups(pairs: Sequence[Pair], grouped: Mapping[str, Sequence[Pair]]) -> Votes:
    """Pairs with the labels of all, beside the same pairs with the labels of each group."""
    known = {name: {(pair.prompt.id, pair.responses): pair for pair in those} for name, those in grouped.items()}
    rows = [[known[name].get((pair.prompt.id, pair.responses)) for name in known] for pair in pairs]
    return Votes(list(pairs), list(known), rows)
