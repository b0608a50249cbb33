"""How far an adaptation is, and what it has brought so far."""

from dataclasses import dataclass

from octvideo.adaptation.agreement import Agreement


@dataclass(frozen=True)
class Progress:
    """How far an adaptation is.

    Attributes:
        step: of STEPS.
        share: of this step that is done, 0 to 1.
        loss: of the distillation's last step.
    """

    step: str
    share: float
    loss: float | None = None


@dataclass(frozen=True)
class Measured:
    """Where an adaptation was.

    Attributes:
        after: the step that had ended, or was under way; "nothing" at the start.
        share: of that step, 0 to 1.
        seconds: of all steps so far, measuring apart.
        agreement: on clips that no step has seen.
        is_undone: whether the step had made the network worse, on clips that it had not learnt from, and was undone.
    """

    after: str
    share: float
    seconds: float
    agreement: Agreement
    is_undone: bool = False
