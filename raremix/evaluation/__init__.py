"""How good a classifier or a generator is: metrics, statistics, audits. No generator code here."""
