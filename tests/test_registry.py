"""Names, fields and groups; what every component must satisfy is in laws/test_round_trip.py."""

import subprocess
import sys

import pytest

from scoresde import registry
from scoresde.errors import InputError


def test_groups_are_the_folders_with_a_base():
    assert {"sde", "model", "param", "grid", "solver", "loss", "loss/time", "loss/weighting"} <= set(registry.groups())
    assert not {"model/layers", "cli", "conf"} & set(registry.groups())


def test_names_are_read_without_importing():
    code = "from scoresde import registry; import sys; [registry.names(g) for g in registry.groups()]; "
    code += "registry.summary('sde', 'vp'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_fields_are_given_or_left_at_their_defaults():
    vp = registry.build("sde", {"name": "vp", "beta_max": 12})
    assert (vp.beta_min, vp.beta_max) == (0.1, 12.0)
    assert isinstance(vp.beta_max, float)
    assert registry.build("sde", "vp") == registry.component("sde", "vp")()


def test_a_spec_is_not_changed():
    spec = {"name": "vp", "beta_max": 12.0}
    registry.build("sde", spec)
    assert spec == {"name": "vp", "beta_max": 12.0}


def test_supplied_fields_are_asked_for_by_name():
    with pytest.raises(InputError, match=r"^model=mlp needs shape, classes$"):
        registry.build("model", "mlp")
    net = registry.build("model", {"name": "mlp", "width": 8, "depth": 1}, shape=(2,), classes=0)
    assert registry.describe(net)["shape"] == [2]
    assert registry.build("model", registry.describe(net)).shape == (2,)


def test_a_component_within_a_component():
    spec = {"name": "predictor_corrector", "predictor": "heun", "corrector": {"name": "langevin", "snr": 0.2}}
    pc = registry.build("solver", spec)
    assert (type(pc.predictor).__name__, pc.corrector.snr, pc.corrector.steps) == ("Heun", 0.2, 1)
    assert registry.describe(pc)["corrector"] == {"name": "langevin", "snr": 0.2, "steps": 1}
    assert registry.build("solver", registry.describe(pc)) == pc
    assert registry.nested_fields("solver", "predictor_corrector") == {
        "predictor": ("solver", "reverse_diffusion"),
        "corrector": ("solver", "annealed_langevin"),
    }


def test_a_component_of_another_type_within_is_refused():
    with pytest.raises(InputError, match=r"^solver=predictor_corrector: predictor must be a StepSolver, and ODE is"):
        registry.build("solver", {"name": "predictor_corrector", "predictor": "ode"})
    with pytest.raises(InputError, match="solver=langevinn does not exist: did you mean langevin"):
        registry.build("solver", {"name": "predictor_corrector", "corrector": "langevinn"})


def test_a_value_out_of_range_is_refused_by_the_component():
    with pytest.raises(InputError, match=r"^VP\.beta_min = -1\.0, but it must be a number >= 0$"):
        registry.build("sde", {"name": "vp", "beta_min": -1})


@pytest.mark.parametrize("value", ["0.5", "1e-3"])
def test_numbers_in_words_are_read_as_the_command_line_reads_them(value):
    assert registry.build("sde", {"name": "ve", "sigma_min": value}).sigma_min == float(value)
