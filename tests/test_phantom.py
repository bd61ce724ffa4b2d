import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from raremix.data.phantom import cohort, mask, readers, render
from raremix.data.phantom.attributes import ATTRIBUTES, FINDINGS
from raremix.data.phantom.scene import expose
from raremix.runtime.errors import UserError
from raremix.runtime.seeds import generator

ROOT = Path(__file__).parents[1]
TABLE = cohort.tables(ROOT / "data" / "phantom")
GOLDEN = Path(__file__).parent / "phantom_golden.json"
PATIENT = 11


def eight_bit(patient, **changes):
    return render(patient, noise=False, **changes)[0].astype(float) / 257


def test_no_change_and_a_change_to_the_same_value_give_the_same_bits():
    image, truth = render(PATIENT, 1, nodule_mass=0.6)
    again, _ = render(PATIENT, 1, nodule_mass=0.6)
    same, _ = render(PATIENT, 1, nodule_mass=0.6, **truth["attributes"])
    assert image.dtype == np.uint16
    assert np.array_equal(image, again)
    assert np.array_equal(image, same)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_each_attribute_changes_the_picture_and_no_other_attribute(name):
    attribute = ATTRIBUTES[name]
    low, before = render(PATIENT, noise=False, **{name: attribute.low})
    high, after = render(PATIENT, noise=False, **{name: attribute.high})
    assert np.abs(high.astype(float) - low).max() > 10 * 257
    differing = {key for key in ATTRIBUTES if before["attributes"][key] != after["attributes"][key]}
    assert differing == {name}


@pytest.mark.parametrize("finding", FINDINGS)
def test_each_finding_changes_its_boxes_and_nothing_far_from_them(finding):
    for patient in range(20, 24):
        image, truth = render(patient, noise=False, collimation=0.0, **{finding: 0.8})
        healthy = eight_bit(patient, collimation=0.0)
        change = np.abs(image / 257 - healthy)
        near = np.zeros(change.shape, dtype=bool)
        for lesion in truth["lesions"]:
            assert lesion["finding"] == finding
            left, top, right, bottom = (round(edge) for edge in lesion["box"])
            near[max(0, top - 12) : bottom + 12, max(0, left - 12) : right + 12] = True
        assert change[near].max() > 8, "a gross finding shows"
        if finding != "aortic_enlargement":  # its descending part runs far below the arch that is boxed
            assert change[~near].max() < 6, "local contrast and scatter reach further, but weakly"


@pytest.mark.parametrize("finding", FINDINGS)
def test_boxes_hold_most_of_what_the_finding_changes(finding):
    for patient in range(30, 33):
        where = mask(patient, finding, collimation=0.0, **{finding: 0.7})
        boxed = np.zeros_like(where)
        for lesion in render(patient, collimation=0.0, **{finding: 0.7})[1]["lesions"]:
            left, top, right, bottom = (round(edge) for edge in lesion["box"])
            boxed[top:bottom, left:right] = True
        assert where.any()
        assert (where & boxed).sum() / where.sum() > (0.45 if finding == "aortic_enlargement" else 0.7)


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_graver_finding_changes_more(finding):
    def amount(severity):
        pairs = [(expose(p, 0, 0, 80, {finding: severity}), expose(p, 0, 0, 80, {})) for p in range(4)]
        return np.mean([np.abs(sick.integral - well.integral).sum() for sick, well in pairs])

    assert amount(0.15) < amount(0.5) < amount(1.0)


def test_noise_is_slight_and_its_own_stream():
    clean, noisy = render(PATIENT, noise=False)[0], render(PATIENT)[0]
    turned_clean, turned_noisy = render(PATIENT, noise=False, exposure=1.0)[0], render(PATIENT, exposure=1.0)[0]
    assert 0 < np.std(noisy.astype(float) - clean) < 3 * 257
    first, second = noisy.astype(float) - clean, turned_noisy.astype(float) - turned_clean
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9


def test_body_stays_and_exposure_changes_between_visits():
    first, second = (render(PATIENT, visit)[1]["attributes"] for visit in (0, 1))
    for name, attribute in ATTRIBUTES.items():
        if attribute.of == "patient":
            assert first[name] == second[name]
    assert first["exposure"] != second["exposure"]


def test_unknown_names_and_values_out_of_range_are_refused():
    with pytest.raises(UserError, match="unknown attribute or finding 'pneumothorx'"):
        render(1, pneumothorx=0.5)
    with pytest.raises(UserError, match=r"nodule_mass=1.5 is out of range"):
        render(1, nodule_mass=1.5)


def test_label_sets_keep_vindrs_prevalence_and_co_occurrence():
    images = 5000
    part = cohort.training_part(TABLE, 1, images)
    counts = Counter(finding for image in part for finding in image.severities)
    for finding in FINDINGS:
        assert counts[finding] == pytest.approx(images * TABLE.share(finding), abs=12)
    sets = Counter(frozenset(image.severities) for image in part)
    for labels, share in zip(TABLE.sets, TABLE.shares, strict=True):
        assert abs(sets[labels] - images * share) <= 1


def test_rare_findings_are_within_one_of_their_share():
    for seed in range(4):
        part = cohort.training_part(TABLE, seed, 3200)
        count = sum("pneumothorax" in image.severities for image in part)
        assert abs(count - 3200 * TABLE.share("pneumothorax")) <= 1


def test_readers_agree_as_vindrs_did():
    part = cohort.training_part(TABLE, 1, 12000)
    for finding, share in TABLE.agreement.items():
        votes = np.array([image.votes[finding] for image in part if finding in image.votes])
        error = 2.6 * np.sqrt(0.25 / len(votes))
        assert np.mean(votes >= 2) == pytest.approx(share.two, abs=error)
        assert np.mean(votes == 3) == pytest.approx(share.three, abs=error)


def test_what_few_readers_mark_is_subtle():
    part = cohort.training_part(TABLE, 1, 6000)
    by_votes = [[i.severities["nodule_mass"] for i in part if i.votes.get("nodule_mass") == k] for k in (1, 2, 3)]
    means = [np.mean(severities) for severities in by_votes]
    assert means[0] + 0.1 < means[1] < means[2] - 0.05


def test_every_reader_of_an_abnormal_image_marks_something():
    for k, image in enumerate(cohort.training_part(TABLE, 2, 3000)):
        if image.votes:
            who = readers.markers(image.votes, ("R8", "R9", "R10"), generator("test", k))
            assert {finding: len(names) for finding, names in who.items()} == image.votes
            assert {name for names in who.values() for name in names} == {"R8", "R9", "R10"}


def test_three_readers_read_nearly_all_abnormal_images():
    def assigned(abnormal):
        return [readers.assign(abnormal, generator("test", abnormal, k)) for k in range(1500)]

    trios = {abnormal: assigned(abnormal) for abnormal in (True, False)}
    share = {abnormal: np.mean([set(trio) == set(readers.TRIO) for trio in who]) for abnormal, who in trios.items()}
    assert share[True] == pytest.approx(0.944, abs=0.02)
    assert share[False] == pytest.approx(0.128, abs=0.03)
    assert all(len(set(trio)) == 3 for who in trios.values() for trio in who)


def test_patients_have_one_or_several_visits():
    part = cohort.training_part(TABLE, 1, 4000)
    visits = Counter(image.patient for image in part)
    assert len({(image.patient, image.visit) for image in part}) == 4000
    assert 1.1 < np.mean(list(visits.values())) < 1.3
    assert max(visits.values()) >= 3


def test_golden_pictures_within_one_grey_level():
    for entry in json.loads(GOLDEN.read_text()):
        means = block_means(eight_bit(entry["patient"], **entry["changes"]))
        assert np.abs(means - np.array(entry["means"])).max() <= 1


def block_means(image):
    rows, columns = (np.array_split(np.arange(size), 8) for size in image.shape)
    return np.array([[image[np.ix_(r, c)].mean() for c in columns] for r in rows])
