"""The recipes, composed once for each file that looks at them."""

import dataclasses
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore

from scoresde import registry
from scoresde.cli.command import _resolve


@pytest.fixture(scope="module")
def composed(request):
    """Each of a file's ``COUNTS``, as ``train.py experiment=…`` composes it."""
    places = ("scoresde.training:Training", "scoresde.cli.train:Run")
    fields = [(f.name, f.type, f) for place in places for f in dataclasses.fields(_resolve(place))]
    fields += [(group, Any, None) for group in ("sde", "model", "param", "loss", "data")]
    ConfigStore.instance().store(name="schema_train", node=dataclasses.make_dataclass("train", fields))
    registry.publish()
    with initialize_config_module("scoresde.conf", version_base=None):
        names = request.module.COUNTS
        return {name: compose("train", overrides=[f"experiment={name}", "data=digits"]) for name in names}
