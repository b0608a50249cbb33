"""One set of weights at several octave ratios: every step trains the least alpha, the largest and one between.

The sandwich rule of universally slimmable networks (arXiv 1903.05134), with alpha in the place of the width. Means and
variances are others at each alpha, so norms have statistics for each (switchable batch norms, arXiv 1812.08928).

All learn the labels. There, all but the largest width learn what that says of the same clips instead; here that held
them back, since a dense network is no better than an octave one and learns more slowly: on the demo's videos
(`benchmarks.evidence`, 8 epochs, three seeds), half of the loss made so cost alphas 0, 0.125, 0.25 and 0.5 of their
top-1 27, 19, 18 and 19 points.

B clips, C classes.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from octvideo.training.loss import ClassLoss

Statistics = Mapping[str, Tensor]  # of the norms, by their names in the state dict


class AlphaNetworks(nn.ModuleList):
    """Networks of several alphas with one set of parameters, each with norm statistics of its own.

    A module that has it as `networks`, beside the network of one of these alphas as `network`, keeps the state dict of
    that one: `take_out` and `put_back` part the two where a checkpoint is written and read.

    Args:
        networks: by alpha, increasing; parameters of all become those of `network`.
        network: one of them.
        statistics: by alpha, what the norms start with; those of `network` where there are none.
    """

    def __init__(
        self,
        networks: Mapping[float, nn.Module],
        network: nn.Module,
        statistics: Mapping[float, Statistics],
    ) -> None:
        super().__init__(networks.values())
        self.alphas = tuple(map(float, networks))  # as a file has them: 0 is 0.0 there
        own = {f"network.{name}": value for name, value in network.state_dict().items()}
        for alpha, other in networks.items():
            if other is not network:
                state = {**own, **statistics.get(alpha, {})}
                other.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
                _share_parameters(other, network)

    def at(self, alpha: float) -> nn.Module:
        """The network of one of the alphas."""
        return self[self.alphas.index(alpha)]

    def take_out(self, state_dict: dict[str, Tensor]) -> dict[float, dict[str, Tensor]]:
        """Takes the networks out of their owner's state dict; returns their statistics, by alpha."""
        found: dict[float, dict[str, Tensor]] = {}
        for number, alpha in enumerate(self.alphas):
            statistics = {name for name, _ in self[number].named_buffers()}
            mine = {name: state_dict.pop(f"networks.{number}.{name}") for name in self[number].state_dict()}
            found[alpha] = {f"network.{name}": mine[name] for name in mine if name in statistics}
        return found

    def put_back(self, state_dict: dict[str, Tensor], statistics: Mapping[float, Statistics]) -> None:
        """What `take_out` took."""
        for number, alpha in enumerate(self.alphas):
            own = {**state_dict, **statistics[alpha]}
            for name in self[number].state_dict():
                if f"network.{name}" in own:
                    state_dict[f"networks.{number}.{name}"] = own[f"network.{name}"]


def _share_parameters(network: nn.Module, owner: nn.Module) -> None:
    """Puts a network's parameters into the place of another's of the same names."""
    for path, module in network.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            setattr(module, name, owner.get_parameter(f"{path}.{name}" if path else name))


def sandwich(alphas: Sequence[float], turn: int) -> list[float]:
    """The least alpha, the largest, and one between: they take turns, so that all are trained alike."""
    least, *between, largest = alphas
    return [least, *([between[turn % len(between)]] if between else []), largest]


def sandwich_loss(
    logits_at: Callable[[float], Tensor], alphas: Sequence[float], label: Tensor, loss: ClassLoss
) -> tuple[Tensor, Tensor]:
    """The sum of the losses at some alphas, as in the paper, and the logits `(B, C)` at the first.

    Args:
        logits_at: the clips' logits `(B, C)` at an alpha.
        alphas: those of a step, as `sandwich` gives them.
        label: as `loss` takes it.
        loss: of logits and labels.
    """
    first, *others = (logits_at(alpha) for alpha in alphas)
    return sum((loss(logits, label) for logits in others), loss(first, label)), first
