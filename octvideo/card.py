"""The model card: what belongs to weights beside their numbers, from the file's pixels to the names of the classes.

One frozen dataclass, checked whenever one is made. The data module's recipe, checkpoints, exported files and results
take their names from its fields. It travels as a dictionary of plain values (`to_dict`), of which old ones lack some.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from octvideo.errors import InputError
from octvideo.limits import Limits, check_layer_alphas, check_numbers

_PER_CENT = Limits(0, 100)
_LONGEST_NAME = 1000  # characters of a class

# What of a card makes a network, beside its weights; and what makes the pixels that it takes, under the names that
# `KineticsDataModule` has for them. The rest is said, and changes neither.
_NETWORK, _RECIPE = {"of": "network"}, {"of": "recipe"}


@dataclass(frozen=True)
class Published:
    """A result on Kinetics-400's validation set, with the recipe's views.

    Args:
        top1: per cent.
        top5: per cent.
        source: whose weights and measurement.
        differs: in what it was measured otherwise than the recipe measures; nothing where the rules are the same.
    """

    top1: float
    top5: float
    source: str
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What weights are of, what they take and what they give; lists are taken for tuples.

    Args:
        name: of the network, in `octvideo models`; None where it is none of them, or not known.
        alpha: octave ratio.
        channel_multiple: what the numbers of low channels are rounded to, as in `create_model`.
        layer_alphas: octave ratios of layers that have one of their own, as in `create_model`.
        num_classes: None where it is not known.
        num_frames: frames of a clip.
        frame_stride: from one frame of a clip to the next, in frames at `fps` a second.
        fps: frames a second that `frame_stride` counts in, whatever the file has.
        frame_times: which moments of a clip its frames are of, see `octvideo.data.sampling`. "even": evenly from the
            first frame to the last of `num_frames * frame_stride / fps` seconds (PySlowFast's); "steps": every
            `frame_stride / fps` seconds (torchvision's, mmaction2's); "segments": of each of `num_frames` parts of the
            whole video (Something-Something's).
        short_side: training: least and most pixels of the short side.
        crop: training: height and width, pixels.
        test_short_side: evaluation: pixels of the short side.
        test_crop: evaluation: height and width, pixels.
        num_clips: evaluation: clips along the video.
        num_crops: evaluation: crops of a clip along its long side.
        mean: of red, green, blue, in `value_range`.
        std: of red, green, blue, in `value_range`.
        value_range: what the pixels 0 and 255 are before `mean` is subtracted.
        colour: the order of the channels.
        head_rule: of what the mean is taken where a clip gives the head several positions: "features", before they are
            classified; "logits"; or "softmax", in training of logits.
        multi_label: whether a video may be of several classes, so that scores are sigmoids and not a softmax.
        class_names: by class; None where they are not known.
        published: the result of these very weights; None where there is none.
        version: of octvideo, which wrote the card.

    Raises:
        InputError: a value of another kind or outside its range.
    """

    name: str | None = field(default=None, metadata=_NETWORK)
    alpha: float = field(default=0.0, metadata=_NETWORK)
    channel_multiple: int = field(default=1, metadata=_NETWORK)
    layer_alphas: dict[str, float] = field(default_factory=dict, metadata=_NETWORK, hash=False)
    num_classes: int | None = field(default=None, metadata=_NETWORK)
    num_frames: int = field(default=8, metadata=_RECIPE)
    frame_stride: int = field(default=8, metadata=_RECIPE)
    fps: float = field(default=30.0, metadata=_RECIPE)
    frame_times: str = field(default="even", metadata=_RECIPE)
    short_side: tuple[int, int] = field(default=(256, 320), metadata=_RECIPE)
    crop: int = field(default=224, metadata=_RECIPE)
    test_short_side: int = field(default=256, metadata=_RECIPE)
    test_crop: int = field(default=256, metadata=_RECIPE)
    num_clips: int = field(default=10, metadata=_RECIPE)
    num_crops: int = field(default=3, metadata=_RECIPE)
    mean: tuple[float, float, float] = field(default=(0.45, 0.45, 0.45), metadata=_RECIPE)
    std: tuple[float, float, float] = field(default=(0.225, 0.225, 0.225), metadata=_RECIPE)
    value_range: tuple[float, float] = (0.0, 1.0)
    colour: str = "RGB"
    head_rule: str = "softmax"
    multi_label: bool = False
    class_names: tuple[str, ...] | None = None
    published: Published | None = None
    version: str = ""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, list):
                object.__setattr__(self, one.name, tuple(value))
        check_numbers({key: value for key, value in vars(self).items() if value is not None})
        for key, allowed in _CHOICES.items():
            if getattr(self, key) not in allowed:
                raise _refused(key, getattr(self, key), " or ".join(map(str, allowed)))
        check_layer_alphas(self.layer_alphas)
        for key in ("name", "version"):
            if not isinstance(getattr(self, key) or "", str):
                raise _refused(key, getattr(self, key), "a text")
        self._check_class_names()
        if not isinstance(self.published, Published | None):
            object.__setattr__(self, "published", _published(self.published))

    def _check_class_names(self) -> None:
        names = self.class_names
        if names is None:
            return
        if not isinstance(names, tuple) or not all(_is_name(name) for name in names):
            raise _refused("class_names", names, "a list of names")
        if len(set(names)) != len(names):
            raise _refused("class_names", names, "a list of different names")
        if self.num_classes not in (None, len(names)):
            raise InputError(
                f"num_classes is {self.num_classes}, allowed is that of class_names, {len(names)}"
            )

    @property
    def recipe(self) -> dict[str, Any]:
        """What makes the pixels, under the names that `KineticsDataModule` has for them; plain values."""
        values = self.to_dict()
        return {key: values[key] for key in RECIPE}

    @property
    def network(self) -> dict[str, Any]:
        """What makes the network, under the names that `create_model` has for them."""
        return {key: getattr(self, key) for key in NETWORK}

    @property
    def is_octave(self) -> bool:
        """Whether any layer is."""
        return is_octave(self.alpha, self.layer_alphas)

    def to_dict(self) -> dict[str, Any]:
        """Numbers, texts, lists and dictionaries, for JSON, YAML and checkpoints; what is None is not there."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], base: "Card | None" = None) -> "Card":
        """The card of a dictionary, of an older or a newer version too.

        Args:
            values: what is unknown here is left out, and None stands for what is not there.
            base: has what is not there.
        """
        known = {key: values[key] for key in _FIELDS if values.get(key) is not None}
        return cls(**{**({key: getattr(base, key) for key in _FIELDS} if base else {}), **known})


def is_octave(alpha: float, layer_alphas: Mapping[str, float] | None = None) -> bool:
    """Whether any layer is, in a network of these octave ratios."""
    return any((alpha, *(layer_alphas or {}).values()))


EXPORT_FORMATS = (".onnx", ".pt2")  # files of a network as it runs, with its card

_FIELDS = tuple(one.name for one in fields(Card))
NETWORK = tuple(one.name for one in fields(Card) if one.metadata.get("of") == "network")
RECIPE = tuple(one.name for one in fields(Card) if one.metadata.get("of") == "recipe")

_CHOICES: dict[str, tuple[Any, ...]] = {
    "frame_times": ("even", "steps", "segments"),
    "multi_label": (False, True),
    "value_range": ((0.0, 1.0),),  # all that the data module makes
    "colour": ("RGB",),
    "head_rule": ("features", "logits", "softmax"),
}


def _published(value: Any) -> Published:
    """Raises InputError unless it is what `to_dict` makes of one."""
    if isinstance(value, Mapping):
        known = {one.name: value[one.name] for one in fields(Published) if one.name in value}
        numbers = all(_PER_CENT.fit(known.get(key)) for key in ("top1", "top5"))
        if (
            numbers
            and all(isinstance(known.get(key, ""), str) for key in ("source", "differs"))
            and "source" in known
        ):
            return Published(**known)
    raise _refused("published", value, "top1, top5, per cent, and source, a text")


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME


def _refused(key: str, value: Any, allowed: str) -> InputError:
    return InputError(f"{key} is {repr(value)[:80]}, allowed is {allowed}")
