"""One module a stage: what goes in, what comes out, one call. No science here."""

import gc
import sys

if sys.argv[0] == "-m":  # python -m stages.NAME, while NAME is looked for
    gc.disable()  # until cli.run; walking over half-imported libraries is a third of what a stage's start takes
