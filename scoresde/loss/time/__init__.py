"""At which times a loss looks."""
