"""The recipes, composed once for each file that looks at them."""

import pytest
from hydra import compose, initialize_config_module

from scoresde import registry
from scoresde.cli.command import schema


@pytest.fixture(scope="module")
def composed(request):
    """Each of a file's ``COUNTS``, as ``train.py experiment=…`` composes it."""
    groups = ("sde", "model", "param", "loss", "data", "ema")
    schema("train", groups, ("scoresde.training:Training", "scoresde.cli.train:Run"))
    registry.publish()
    with initialize_config_module("scoresde.conf", version_base=None):
        names = request.module.COUNTS
        return {name: compose("train", overrides=[f"experiment={name}", "data=digits"]) for name in names}
