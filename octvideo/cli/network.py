"""A network of one's own for commands whose other options need no torch: `--model.network CLASS`, with its arguments.

As `fit`, `test` and `predict` take it: `--model.network mine.Net --model.network.init_args.num_classes 8`.
"""

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

OPTION = "--model.network"
HELP = f"""\
a network of your own, where CKPT is of one:
  {OPTION} CLASS  its class, importable: package.module.Class; arguments: {OPTION}.init_args.NAME VALUE
"""


def split_off(args: list[str]) -> tuple[list[str], list[str]]:
    """The options of a command without those of the network, and these."""
    rest, own = [], []
    words = iter(args)
    for word in words:
        if not word.startswith((f"{OPTION}=", f"{OPTION}.")) and word != OPTION:
            rest.append(word)
        else:
            own += [word] if "=" in word else [word, *islice(words, 1)]
    return rest, own


def build(options: list[str]) -> "nn.Module | None":
    """The network that these options ask for; None where there are none.

    Raises:
        jsonargparse.ArgumentError: there is no such class, or it takes no such arguments.
    """
    if not options:
        return None
    from jsonargparse import ArgumentParser
    from torch import nn

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(OPTION, type=nn.Module)
    network: nn.Module = parser.instantiate_classes(parser.parse_args(options)).model.network
    return network
