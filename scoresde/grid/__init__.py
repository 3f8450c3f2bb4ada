"""Where a solver steps."""
