"""DDPM's U-Net: what sets it apart from DDPM++."""

import pytest
import torch
from torch import nn

from scoresde.errors import InputError
from scoresde.model.ddpm import DDPM


def test_has_as_many_weights_as_the_paper_says():
    """35.7 million for CIFAR-10, 114 million for 256 pixels (appendix B)."""
    with torch.device("meta"):
        small, large = DDPM((3, 32, 32), 0), DDPM((3, 256, 256), 0, multipliers=(1, 1, 2, 2, 4, 4))
    assert sum(weight.numel() for weight in small.parameters()) == 35_746_307
    assert sum(weight.numel() for weight in large.parameters()) == 113_673_219


def test_every_norm_has_32_groups():
    net = DDPM((3, 8, 8), 0, channels=32, multipliers=(1, 2), blocks=1, attention=(4,))
    assert {layer.num_groups for layer in net.modules() if isinstance(layer, nn.GroupNorm)} == {32}


@pytest.mark.parametrize(("which", "count"), [("every", 3), ("last", 1)])
def test_attention_on_the_way_up(which, count):
    net = DDPM((3, 8, 8), 0, channels=32, multipliers=(1, 2), attention=(4,), decoder_attention=which)
    assert sum(name.startswith("decoder") and name.endswith("qkv.weight") for name in net.state_dict()) == count


def test_data_from_0_to_1_are_read_as_from_minus_1_to_1():
    torch.manual_seed(0)
    fields = {"channels": 32, "multipliers": (1,), "blocks": 1}
    net, other = DDPM((1, 4, 4), 0, **fields), DDPM((1, 4, 4), 0, centered=False, **fields)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.1)
    other.load_state_dict(net.state_dict())
    x, noise = torch.rand(2, 1, 4, 4), torch.zeros(2)
    torch.testing.assert_close(other.eval()(x, noise), net.eval()(2 * x - 1, noise))


def test_refuses_groups_that_do_not_divide():
    with pytest.raises(InputError, match=r"DDPM\.channels = 48"):
        DDPM((3, 8, 8), 0, channels=48, multipliers=(1, 2))
