"""What a classifier, trained on the labelled data, makes of samples: how sure it is, and which classes it finds."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.data.base import Samples
from scoresde.errors import InputError, check, typed
from scoresde.metric.base import Metric, rows

__all__ = ["Classifier"]


@dataclass(frozen=True)
class Classifier(Metric):
    """A network of one hidden layer learns the labels from four fifths of the data, then judges the samples.

    - "mean top probability": mean over samples of max_y p(y | x), low for what looks like no class; beside it the same
      of the fifth that was held out, which a perfect model reaches, and the accuracy there.
    - "class entropy": −Σ_y q_y log q_y in nats, of the share q_y of samples put in class y; beside it that of the data.
    - "classes present": how many classes have a sample.

    For small images and tables: it reads pixels as they are, a second for a thousand digits.

    Args:
        hidden: units of the hidden layer, ≥ 1.
        epochs: the most passes over the data, ≥ 1.
        seed: of the split and of the network, in [0, 2³²).

    Raises:
        InputError: for a value out of range, and for data without labels.
    """

    hidden: int = 128
    epochs: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a network or a training that is none."""
        typed(self)
        check(self, "hidden", self.hidden >= 1, "a whole number >= 1")
        check(self, "epochs", self.epochs >= 1, "a whole number >= 1")
        check(self, "seed", 0 <= self.seed < 2**32, "a whole number in [0, 2**32)")

    def __call__(self, samples: Tensor, data: Samples) -> dict[str, float]:
        """Train, then judge; see `Metric`."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn's own

        if data.label is None:
            raise InputError("the classifier needs labels, and this data has none: leave out metric=classifier")
        a, b = rows(samples, data)
        label = data.label.cpu()
        order = torch.randperm(len(b), generator=torch.Generator().manual_seed(self.seed))
        held, seen = order.tensor_split([len(b) // 5 or 1])
        network = MLPClassifier((self.hidden,), alpha=0.01, max_iter=self.epochs, random_state=self.seed)
        # products this small spend twenty times as long waiting for a second thread
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # epochs is a budget
            network.fit(b[seen].numpy(), label[seen].numpy())
        top, guess = torch.as_tensor(network.predict_proba(a.numpy())).max(1)
        top_held, guess_held = torch.as_tensor(network.predict_proba(b[held].numpy())).max(1)
        truth = torch.as_tensor(network.classes_)[guess_held]
        return {
            "mean top probability": float(top.mean()),
            "mean top probability of held-out data": float(top_held.mean()),
            "accuracy on held-out data": float((truth == label[held]).double().mean()),
            "class entropy": _entropy(guess),
            "class entropy of the data": _entropy(label),
            "classes present": float(len(torch.unique(guess))),
        }


def _entropy(label: Tensor) -> float:
    share = torch.unique(label, return_counts=True)[1] / len(label)
    return float(torch.special.entr(share.double()).sum())
