"""What a process of a run says when the connection to another one breaks."""

import itertools
import os
from types import SimpleNamespace

import pytest

from octvideo.errors import ProcessDiedError
from octvideo.training.ranks import deaths_named


def test_a_death_that_shows_after_the_connection_is_waited_for(monkeypatch) -> None:
    """A killed process closes its connections before its children get another parent."""
    trainer = SimpleNamespace(
        world_size=2, local_rank=1, global_rank=1, strategy=SimpleNamespace(launcher=SimpleNamespace())
    )
    parents = itertools.chain([77, 77, 77], itertools.repeat(1))
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    lost = RuntimeError("[/gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    said = r"rank 1 stops, since the process of rank 0 \(77\) has died"
    with pytest.raises(ProcessDiedError, match=said), deaths_named(trainer):
        raise lost
