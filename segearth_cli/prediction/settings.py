"""From what the user gave to what a run is made of: the one order in which defaults, advice, preset and flags count."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from segearth_cli.classes import ClassSet, Rest
from segearth_cli.errors import SegEarthError, UsageError, WeightsError
from segearth_cli.options import Option, at_home, build, options_of, refuse_unknown, taken
from segearth_cli.prediction.area import asked_area
from segearth_cli.prediction.calibrated import Calibration, feature_settings, read_calibration, refuse_other
from segearth_cli.prediction.class_list import listed_classes, rest_line, with_choices
from segearth_cli.prediction.options import RESOLUTIONS, REST, TILES, ClassOptions, PredictOptions
from segearth_cli.presets import Preset
from segearth_cli.weights import (
    CATALOGUE,
    SETTINGS,
    Choice,
    ModelOptions,
    advice,
    choose,
    good_gsd,
    here,
    image_facts,
    never_seen,
)

LARGEST_WINDOW = 8192  # px; attention takes memory with the fourth power of it
ADVISED: dict[str, Option] = {
    told.name: told
    for owner in (ClassOptions, PredictOptions, ModelOptions)
    for told in options_of(owner)
    if told.advised
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All that decides the value of a pixel, but the scene."""

    classes: ClassSet
    """The classes of the mask."""
    model: ModelOptions
    """Which model, its upsampler resolved."""
    options: PredictOptions
    """Every other choice."""
    notes: tuple[str, ...]
    """Lines for the user, told before work starts: the model that was taken, words that it has never seen, what
    the background is that the list does not name."""


def resolve_settings(given: Mapping[str, Any], classes: ClassSet | None = None) -> Settings:
    """The settings of a run: defaults, below the model's advice, the preset's, the calibration's, what is given.

    given: values by keyword (`options.Option.name`), None = not given; keywords of other dataclasses are left alone.
    classes: in place of a list in words. Raises UsageError for what cannot be meant, WeightsError for a model that is
    absent or whose advice is damaged, CalibrationError for a calibration that is of other classes or settings.
    """
    given = {name: value for name, value in given.items() if value is not None}
    place = Path(at_home(str(given["calibration"]))).absolute() if "calibration" in given else None
    calibration = read_calibration(place) if place else None
    asked = build(ClassOptions, given)
    if calibration is not None and not (asked.classes or asked.classes_file or asked.preset):
        classes = classes or calibration.classes
    listed, preset = listed_classes(asked, classes)
    model, lacking = _model(given, preset)
    choice = _choice(given, calibration, model)
    named = {"model": choice.model, "upsampler": choice.upsampler, "calibration": place}
    advice = advised(choice.model)
    settings = stacked([advice, preset.settings() if preset else {}, _laid_down(calibration), given]) | named
    published = preset and settings.get("long_side") == preset.long_side
    options = build(
        PredictOptions,
        settings,
        image_side=preset.image_side if preset and published else None,
        good_gsd=good_gsd(choice.model),
        area=asked_area(given),
    )
    if options.gsd == "auto" and options.good_gsd is None:
        raise UsageError(f"--gsd auto: {choice.model} does not say what it is good at; name metres, e.g. --gsd 0.3")
    _check_window(options.window, choice.model)
    made, rest = with_choices(listed, asked, advice, in_words=classes is None and preset is None)
    added = () if rest else made.queries[: len(made.queries) - len(listed.queries)]  # a background that was asked for
    unknown = never_seen(choice.model, (*added, *listed.queries, *listed.descriptions))
    notes = (choice.note, lacking, unknown, rest_line(listed, made, rest, options.threshold))
    chosen = build(ModelOptions, settings)
    if options.threshold > 0 or calibration is not None:  # decided by, or learned from, exact numbers
        chosen = replace(chosen, refine="exact")
    if place and calibration:
        now = feature_settings(options, chosen, image_facts(choice.model).native)
        refuse_other(place, calibration, made, now)
    return Settings(made, chosen, options, tuple(line for line in notes if line))


def _choice(given: Mapping[str, Any], calibration: Calibration | None, model: str) -> Choice:
    """The model of a run: as given, else the one that its calibration names, else `model`."""
    if calibration is None or "model" in given:
        return choose(model, given.get("upsampler"))
    return choose(calibration.named["model"], given.get("upsampler", calibration.named["upsampler"]))


def _laid_down(calibration: Calibration | None) -> dict[str, Any]:
    """The settings that a calibration brings along."""
    return {k: v for k, v in calibration.settings.items() if v is not None} if calibration else {}


def _model(given: Mapping[str, Any], preset: Preset | None) -> tuple[str, str | None]:
    """The model that is asked for, and a line where a preset's own one is not on this machine."""
    model = str(given.get("model", "auto"))
    if preset is None or not preset.model or model != "auto" or os.environ.get("SEGEARTH_MODEL"):
        return model, None
    if here(CATALOGUE[preset.model]):
        return preset.model, None
    return model, (
        f"--preset {preset.id} is published with {preset.model}, which is not on this machine; "
        f"`segearth download {preset.model}` brings it"
    )


def stacked(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several layers as one, later ones before earlier; one resolution replaces another, with the tiles it is for.

    >>> stacked([{"scale": 0.5, "blend": "taper"}, {"gsd": 1.0}])
    {'blend': 'taper', 'gsd': 1.0}
    """
    settings: dict[str, Any] = {}
    for layer in layers:
        if layer.keys() & set(RESOLUTIONS):
            settings = {name: value for name, value in settings.items() if name not in (*RESOLUTIONS, *TILES)}
        elif "tile" in layer:
            settings.pop("tile_stride", None)
        settings |= layer
    return settings


def advised(model: str) -> dict[str, Any]:
    """A model's own advice, checked. Raises WeightsError where it names what is no setting, or a value that is none."""
    settings = advice(model)
    try:
        refuse_unknown(settings, ADVISED, "setting")
        found = {name: taken(ADVISED[name], value) for name, value in settings.items()}
        if (rest := found.get("background", REST)) not in get_args(Rest):
            raise UsageError(f"--background {rest}: choose one of {', '.join(get_args(Rest))}")
        return found
    except UsageError as e:
        raise WeightsError(f"{model}: {SETTINGS}: {e}") from None


def _check_window(window: int | None, model: str) -> None:
    """Raises UsageError for a window that holds no patch of the model, or that no machine holds."""
    if window is None:
        return
    patch = image_facts(model).patch
    if not patch <= window <= LARGEST_WINDOW:
        raise UsageError(
            f"--window {window}: need {patch} (a patch of the model) to {LARGEST_WINDOW} px; "
            "to see more of the ground at once, resample with --scale or --gsd"
        )


def defaults_now() -> dict[str, Any]:
    """For `--help`: what stands in for the defaults when `auto` chooses the model, by keyword; none without a model."""
    try:
        choice = choose("auto", None)
        native = image_facts(choice.model).native
        told = {"model": f"auto: {choice.model}", "upsampler": choice.upsampler, "window": native}
        return told | advised(choice.model)
    except SegEarthError:
        return {}
