"""One module a stage: what goes in, what comes out, one call. No science here."""
