"""McNemar's test, Holm's correction and the power of Student's t: python with_statsmodels.py > statsmodels.json

statsmodels is no dependency of the repository; any environment that has it will do.
"""

import json

import statsmodels
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

DISCORDANT = [(0, 3), (4, 4), (9, 15), (2, 22), (9, 16), (13, 13), (40, 17), (150, 201)]
P = [0.0121, 0.0480, 0.0007, 0.2600, 0.0480, 0.0132]
TRIALS = (3, 5, 30)

tests = []
for only_a, only_b in DISCORDANT:
    exact = only_a + only_b < 25
    found = mcnemar([[50, only_a], [only_b, 30]], exact=exact, correction=True)
    tests.append({"only_a": only_a, "only_b": only_b, "exact": exact, "statistic": found.statistic, "p": found.pvalue})
power = {"alpha": 0.05, "power": 0.8, "alternative": "two-sided"}
numbers = {
    "versions": f"statsmodels {statsmodels.__version__}",
    "mcnemar": tests,
    "holm": list(multipletests(P, method="holm")[1]),
    "detectable": [TTestPower().solve_power(nobs=trials, **power) * trials**0.5 for trials in TRIALS],
}
print(json.dumps(numbers, indent=1, default=float))
