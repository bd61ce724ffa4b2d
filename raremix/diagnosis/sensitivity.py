"""How strongly a classifier reacts to each attribute, from edits of images and from images as they are.

An edit moves its target, and a little of everything else. So the effect of an attribute is not read off its own
edits: what all edits of all images change in the classifier's logits is regressed on the changes that an independent
reader sees in all attributes at once. Images differ by themselves, too: the same regression between images is a second
source. An effect is a change in probability, were each image moved from the attribute's low end to its high end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from raremix.diagnosis.readers import Units
from raremix.runtime.seeds import generator

Array = NDArray[np.float64]
DRAWS = 500
RIDGE = 1e-3  # of the regression, in mean squares of the readings
SURE = 1e-4  # a probability nearer to 0 or 1 counts as this far from it


@dataclass(frozen=True)
class Changes:
    """What m edits did to the same n images."""

    targets: NDArray[np.int64]  # the attribute that each edit is for, [m]
    doses: Array  # [m]
    read: Array  # changes in units of the attributes, [m, n, attributes]
    before: Array  # the classifier's probability without an edit, [n, findings]
    probability: Array  # changes in it, [m, n, findings]
    flipped: NDArray[np.bool_]  # whether its decision at the threshold changed, [m, n, findings]
    natural: NDArray[np.bool_]  # whether the target is still as far out as in real images at most, [m, n]

    def moved(self, attributes: int) -> Array:
        """How far each attribute's own edits moved it, from the most negative dose to the most positive; in units."""
        found = np.zeros(attributes)
        for k in set(self.targets.tolist()):
            of = np.flatnonzero(self.targets == k)
            low, high = of[np.argmin(self.doses[of])], of[np.argmax(self.doses[of])]
            found[k] = self.read[high, :, k].mean() - self.read[low, :, k].mean()
        return found


@dataclass(frozen=True)
class Seen:
    """n images as they are: readings in units ``[n, attributes]``, the classifier's probabilities ``[n, findings]``."""

    read: Array
    probability: Array


@dataclass(frozen=True)
class Source:
    """What n images tell of the slopes of logits over readings."""

    products: Array  # of readings, [n, attributes, attributes]
    responses: Array  # of readings and logits, [n, attributes, findings]
    pictures: Array  # of each image that count, [n]

    def moments(self, weights: Array) -> tuple[Array, Array]:
        """Mean products and responses over the pictures of images, by ``weights [draws, n]`` of these."""
        total = np.maximum(weights @ self.pictures, 1)[:, None, None]
        return np.einsum("wn,nab->wab", weights, self.products) / total, np.einsum(
            "wn,naf->waf", weights, self.responses
        ) / total


def edited(changes: Changes) -> Source:
    """What edits changed in each image.

    Only edits count that leave their target ``natural``: a woman made still more of a woman tells nothing of men.
    """
    counted = changes.natural.astype(float)
    moved = _logit(changes.before + changes.probability) - _logit(changes.before)
    return Source(
        np.einsum("mn,mna,mnb->nab", counted, changes.read, changes.read),
        np.einsum("mn,mna,mnf->naf", counted, changes.read, moved),
        counted.sum(axis=0),
    )


def as_they_are(seen: Seen) -> Source:
    """How images differ by themselves."""
    read, logits = seen.read - seen.read.mean(axis=0), _logit(seen.probability)
    logits -= logits.mean(axis=0)
    return Source(np.einsum("na,nb->nab", read, read), np.einsum("na,nf->naf", read, logits), np.ones(len(read)))


def effects(sources: Sequence[Source], seen: Seen, units: Units, readable: list[int], seed: str) -> tuple[Array, Array]:
    """The effects ``[attributes, findings]``, and ``DRAWS`` of them from images drawn with replacement.

    The slopes that ``sources`` have in common are told over the images of ``seen``: the mean difference in probability
    between an attribute at its high end and at its low end, all else as it is (g-computation, Robins 1986). Sources
    count the same: of each, the readings' mean square is made 1. The draws are of each source's own images; those of
    ``seen``, over which effects are told, are the same in all draws. What is not ``readable`` has no effect: NaN.
    """
    rng, moments = generator("sensitivity", seed), []
    for source in sources:
        count = len(source.pictures)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)
        products, responses = source.moments(np.concatenate([np.ones((1, count)), drawn]))
        products, responses = products[:, readable][:, :, readable], responses[:, readable]
        square = np.trace(products[0]) / len(readable)
        moments.append((products / square, responses / square) if square > 0 else (products, responses))
    products, responses = (np.sum(parts, axis=0) for parts in zip(*moments, strict=True))
    slopes: Array = np.linalg.solve(products + RIDGE * np.eye(len(readable)), responses)
    effect = np.full((len(slopes), len(units.attributes), slopes.shape[2]), np.nan)
    for index, k in enumerate(readable):
        effect[:, k] = _over_the_whole_way(slopes[:, index], seen, units, k)
    return effect[0], effect[1:]


def _over_the_whole_way(slopes: Array, seen: Seen, units: Units, k: int) -> Array:
    """The mean change in probability ``[draws, findings]`` by ``slopes`` of the logits over attribute ``k``.

    A reading beyond what is natural counts as the border, lest its image be moved further than any real one is.
    """
    (low, high), (least, most) = units.ends, units.natural
    reading, logits = np.clip(seen.read[:, k], least[k], most[k]), _logit(seen.probability)
    ends = [expit(logits + slopes[:, None] * (end - reading)[:, None]).mean(axis=1) for end in (low[k], high[k])]
    return np.asarray(ends[1] - ends[0])


def _logit(probability: Array) -> Array:
    return np.asarray(logit(np.clip(probability, SURE, 1 - SURE)))


def null(pointless: Changes, moved: Array, reach: Array) -> tuple[Array, Array]:
    """The 2.5 % and 97.5 % quantiles of edits along directions that mean nothing: low and high ``[findings]``.

    Their changes from the lowest to the highest dose are told over a whole way, as those of an attribute typically
    would be: scaled by the median of ``reach`` over ``moved``, of the attributes that were moved. Nothing is regressed.
    """
    scale = float(np.median(reach / moved)) if len(moved) else 1.0
    spans = []
    for k in sorted(set(pointless.targets.tolist())):
        of = np.flatnonzero(pointless.targets == k)
        low, high = of[np.argmin(pointless.doses[of])], of[np.argmax(pointless.doses[of])]
        spans.append((pointless.probability[high] - pointless.probability[low]).mean(axis=0) * scale)
    low, high = np.quantile(spans, [0.025, 0.975], axis=0)
    return low, high


def resampled(values: Array, seed: str) -> Array:
    """``DRAWS`` means of ``values [n, findings]`` over images drawn with replacement."""
    count = len(values)
    return np.asarray(
        generator("interval", seed).multinomial(count, np.full(count, 1 / count), size=DRAWS) @ values / count
    )


def interval(values: Array, seed: str) -> tuple[Array, Array, Array]:
    """Mean of ``values [n, findings]`` over images, and its 95 % percentile bootstrap interval."""
    low, high = np.quantile(resampled(values, seed), [0.025, 0.975], axis=0)
    return values.mean(axis=0), low, high
