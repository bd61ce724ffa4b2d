"""One module a stage: what goes in, what comes out, one call. No science here."""

import gc
import sys

if sys.argv[0] == "-m":  # python -m stages.NAME, while NAME is looked for
    # Until cli.run, if it comes to that: walking over half-imported libraries is a third of what a stage's start takes.
    gc.disable()
