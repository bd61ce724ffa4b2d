"""Measure docs/coverage.csv: python docs/coverage.py

How often the analysis of compare is right in simulated studies. Forty minutes on one core; what is in the file already
is not measured again.
"""

from itertools import product
from pathlib import Path

import pandas as pd

from raremix.evaluation.simulated import Design, coverage
from raremix.runtime.files import replacing

TRIALS, RATIOS = (3, 5), (0.0, 0.5, 1.0, 2.0, 3.0)
STUDIES, DRAWS = 2000, 100  # compare draws 1,000 resamples: its limits are a little surer of their images


def main(out: Path) -> None:
    """Write a row for each number of trials, ratio, metric, and one finding or two."""
    tables = [pd.read_csv(out)] if out.is_file() else []
    measured = {cell for table in tables for cell in zip(table.trials, table.ratio, strict=True)}
    for trials, ratio in product(TRIALS, RATIOS):
        if (trials, ratio) not in measured:
            tables.append(coverage(Design(trials, ratio), STUDIES, DRAWS))
            with replacing(out) as temporary:
                pd.concat(tables).to_csv(temporary, index=False, float_format="%.5g")


if __name__ == "__main__":
    main(Path(__file__).parent / "coverage.csv")
