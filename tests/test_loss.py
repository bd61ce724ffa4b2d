"""What classifiers minimise, held against the formulas by hand."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from raremix.classifier.loss import BETA, loss_of

LABELS = np.array([[1, 0]] * 16 + [[0, 1]] * 1 + [[0, 0]] * 83, np.float32)  # 16 and 1 of 100
LOGITS = torch.linspace(-2, 2, 200).reshape(100, 2)


def loss(name, late=False, rows=slice(None)):
    return loss_of(name, LABELS)(LOGITS[rows], torch.from_numpy(LABELS[rows]), late)


def test_cross_entropy_is_torchs_to_the_bit():
    assert torch.equal(loss("cross_entropy"), binary_cross_entropy_with_logits(LOGITS, torch.from_numpy(LABELS)))
    assert torch.equal(loss("cross_entropy", late=True), loss("cross_entropy"))


def test_an_unknown_label_adds_nothing_and_leaves_the_others_what_they_were():
    partly = torch.from_numpy(LABELS.copy())
    partly[3:20, 1] = torch.nan
    of_all, of_some = (torch.zeros(100, 2, requires_grad=True) for _ in range(2))
    loss_of("cross_entropy", LABELS)(of_all, torch.from_numpy(LABELS), False).backward()
    loss_of("cross_entropy", partly.numpy())(of_some, partly, False).backward()
    assert (of_some.grad[3:20, 1] == 0).all()
    known = partly.isfinite()
    assert torch.equal(of_some.grad[known], of_all.grad[known])


def test_class_balanced_is_torchs_weighted_cross_entropy_of_each_finding():
    rows = slice(10, 40)
    weight = {n: (1 - BETA) / (1 - BETA**n) for n in (1, 16, 84, 99)}
    by_torch = [
        cross_entropy(
            torch.stack([torch.zeros(30), LOGITS[rows, k]], 1),
            torch.from_numpy(LABELS[rows, k]).long(),
            torch.tensor([weight[without], weight[carriers]]),
        )
        for k, (without, carriers) in enumerate([(84, 16), (99, 1)])
    ]
    assert float(loss("class_balanced", rows=rows)) == pytest.approx(float(sum(by_torch)) / 2, rel=1e-5)


def test_the_one_carrier_in_a_batch_pulls_no_harder_than_the_batch():
    gradient = torch.zeros(48, 2, requires_grad=True)
    loss_of("class_balanced", LABELS)(gradient, torch.from_numpy(LABELS[16:64]), False).backward()
    assert gradient.grad.abs().sum(0) == pytest.approx(torch.full((2,), 0.25))


def test_a_rare_class_weighs_as_much_as_its_opposite():
    gradient = torch.zeros(100, 2, requires_grad=True)
    loss_of("class_balanced", LABELS)(gradient, torch.from_numpy(LABELS), False).backward()
    pulls = gradient.grad[:, 1]
    assert float(pulls[16]) == pytest.approx(-float(pulls.sum() - pulls[16]), rel=0.01)


def test_ldam_takes_the_largest_margin_from_the_rarest_class_and_weighs_late():
    row = slice(16, 17)
    margins = {n: 0.5 * n**-0.25 for n in (1, 84)}
    shifted = torch.stack([LOGITS[16, 0] + margins[84], LOGITS[16, 1] - margins[1]])[None]
    early = binary_cross_entropy_with_logits(shifted, torch.tensor([[0.0, 1.0]]))
    assert float(loss("ldam_drw", rows=row)) == pytest.approx(float(early), rel=1e-6)
    assert float(loss("ldam_drw", rows=slice(0, 100))) < float(loss("ldam_drw", late=True, rows=slice(0, 100)))


def test_a_finding_that_everyone_has_does_not_break_the_weights():
    all_of_them = np.ones((4, 1), np.float32)
    value = loss_of("class_balanced", all_of_them)(torch.zeros(4, 1), torch.ones(4, 1), False)
    assert float(value) == pytest.approx(np.log(2), rel=1e-6)
