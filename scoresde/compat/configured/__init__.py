"""Networks that a config.json describes."""
