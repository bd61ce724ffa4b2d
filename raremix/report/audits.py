"""The audits: is the finding kept by the autoencoder, is it drawn, can synthetic be told from real."""

import pandas as pd

from raremix.report.blocks import Block, Section, Text
from raremix.report.cells import reach
from raremix.report.inputs import Inputs
from raremix.report.tables import Column, figure, plain, spoken, tabulate

NOTE = (
    "On validation, never test, by a judge trained on all real images of train. Real, reconstructed: its AUROC on "
    "validation images, and on what the autoencoder leaves of them; of all findings the mean. PSNR, SSIM: how near "
    "that is to the images with the finding, and to all images. Drawn: images prompted with the finding against "
    "their pairs without it, mean and range over trials; others' pairs: the same score in the pairs of the other "
    "findings, which the finding does not explain. Probe: AUC with which the judge's features tell synthetic from "
    "real; 0.5 is perfect. Where a finding is laid over radiographs, pairs without it are radiographs that the judge "
    "has learned from: that flatters drawn, and the probe without says how the judge tells seen from unseen ones."
)


def audits(inputs: Inputs) -> Section:
    """A row a finding; a row an attribute, if any were read."""
    judge, attributes = inputs.table("audit/judge.csv"), inputs.table("audit/attributes.csv")
    if judge.empty:
        return Section("Audits", [Text("Not in this run: no metrics/audit/judge.csv.")])
    drawn, probe = inputs.table("audit/findings.csv"), inputs.table("audit/probe.csv")
    judge = judge.reindex(columns=["finding", "real", "reconstructed", "psnr", "ssim"])  # older runs lack the last two
    columns = {
        "finding": spoken("finding"),
        "real": figure("real"),
        "reconstructed": figure("reconstructed"),
        "PSNR (dB)": figure("psnr", 1),
        "SSIM": figure("ssim"),
        "drawn": _over_trials(drawn, "auroc", 3),
        "others' pairs": _over_trials(drawn, "others", 2),
        "probe, with finding": _over_trials(probe, "positives", 2),
        "probe, without": _over_trials(probe, "negatives", 2),
    }
    blocks: list[Block] = [Text(NOTE), tabulate("What the judge sees of each finding", judge, columns)]
    if len(attributes):
        of = {"attribute": spoken("attribute"), "images": plain("scope")}
        scores = {"R2, real images": figure("real", 2), "R2, samples": figure("sampled", 2)}
        blocks.append(tabulate("R2 of what captions tell of attributes", attributes, of | scores))
    return Section("Audits", blocks)


def _over_trials(table: pd.DataFrame, column: str, digits: int) -> Column:
    """The trials' figures of a finding, which another table has."""
    by_finding = table.groupby("finding")[column].agg(list).to_dict() if len(table) else {}
    return lambda row: reach(by_finding.get(row["finding"], []), digits)
