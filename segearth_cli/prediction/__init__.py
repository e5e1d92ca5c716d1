"""Scene to mask: planned, cut into windows, run through the model, stitched, decided and written.

One region at a time, in memory that does not grow with the scene's height; the result does not depend on the cut.
(The package is not called `predict`, because `segearth_cli.predict` is the public function.)
Knows no command line and no other process.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.prediction.decision import Decider, Decision
    from segearth_cli.prediction.facts import FACT_OPTIONS, FACT_TYPES
    from segearth_cli.prediction.options import ClassOptions, PredictOptions, RunOptions
    from segearth_cli.prediction.plan import KEPT_BYTES, Plan, Tile, estimate, make_plan, off_scale
    from segearth_cli.prediction.provenance import run_tags
    from segearth_cli.prediction.scene_to_mask import (
        Measured,
        Predictor,
        Prepared,
        SceneSummary,
        as_json,
        assembled_once,
        draw_preview,
        finish_outputs,
        predict_scene,
        prepared,
        summarise,
        there_already,
        together,
        write_region,
    )
    from segearth_cli.prediction.schedule import Model, Work, work_for
    from segearth_cli.prediction.segment import segmented_rows
    from segearth_cli.prediction.settings import ADVISED, Settings, defaults_now, resolve_settings
    from segearth_cli.prediction.tiled import tile_rows

__all__ = [
    "ADVISED",
    "FACT_OPTIONS",
    "FACT_TYPES",
    "KEPT_BYTES",
    "ClassOptions",
    "Decider",
    "Decision",
    "Measured",
    "Model",
    "Plan",
    "PredictOptions",
    "Predictor",
    "Prepared",
    "RunOptions",
    "SceneSummary",
    "Settings",
    "Tile",
    "Work",
    "as_json",
    "assembled_once",
    "defaults_now",
    "draw_preview",
    "estimate",
    "finish_outputs",
    "make_plan",
    "off_scale",
    "predict_scene",
    "prepared",
    "resolve_settings",
    "run_tags",
    "segmented_rows",
    "summarise",
    "there_already",
    "tile_rows",
    "together",
    "work_for",
    "write_region",
]

__getattr__ = lazy_face(
    __name__,
    {
        "decision": "Decider Decision",
        "facts": "FACT_OPTIONS FACT_TYPES",
        "options": "ClassOptions PredictOptions RunOptions",
        "plan": "KEPT_BYTES Plan Tile estimate make_plan off_scale",
        "provenance": "run_tags",
        "scene_to_mask": (
            "Measured Predictor Prepared SceneSummary as_json assembled_once draw_preview finish_outputs "
            "predict_scene prepared summarise there_already together write_region"
        ),
        "schedule": "Model Work work_for",
        "segment": "segmented_rows",
        "tiled": "tile_rows",
        "settings": "ADVISED Settings defaults_now resolve_settings",
    },
)
