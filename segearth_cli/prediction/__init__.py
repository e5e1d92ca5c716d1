"""Scene to mask: planned, cut into windows, run through the model, stitched, decided and written.

One region at a time, in memory that does not grow with the scene's height; the result does not depend on the cut.
(The package is not called `predict`, because `segearth_cli.predict` is the public function.)
Knows no command line and no other process.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.prediction.area import AreaOptions
    from segearth_cli.prediction.calibrated import (
        Calibration,
        LabelledScene,
        feature_settings,
        read_calibration,
        write_calibration,
    )
    from segearth_cli.prediction.class_list import listed_classes
    from segearth_cli.prediction.cost import Held, estimate, usable_cores
    from segearth_cli.prediction.decision import Decider, Decision
    from segearth_cli.prediction.facts import FACT_OPTIONS, FACT_TYPES
    from segearth_cli.prediction.measured import Measured, SceneSummary, as_json, extent_of, together
    from segearth_cli.prediction.options import ClassOptions, PredictOptions, RunOptions
    from segearth_cli.prediction.plan import KEPT_BYTES, Plan, Tile, make_plan, remarks
    from segearth_cli.prediction.provenance import run_tags
    from segearth_cli.prediction.sample import by_tile, sampled_logits, windows_at
    from segearth_cli.prediction.scene_to_mask import (
        Predictor,
        Prepared,
        assembled_once,
        finish_outputs,
        is_done,
        left_alone,
        predict_scene,
        predictor_for,
        prepared,
        summarise,
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
    "AreaOptions",
    "Calibration",
    "ClassOptions",
    "Decider",
    "Decision",
    "Held",
    "LabelledScene",
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
    "by_tile",
    "defaults_now",
    "estimate",
    "extent_of",
    "feature_settings",
    "finish_outputs",
    "is_done",
    "left_alone",
    "listed_classes",
    "make_plan",
    "predict_scene",
    "predictor_for",
    "prepared",
    "read_calibration",
    "remarks",
    "resolve_settings",
    "run_tags",
    "sampled_logits",
    "segmented_rows",
    "summarise",
    "tile_rows",
    "together",
    "usable_cores",
    "windows_at",
    "work_for",
    "write_calibration",
    "write_region",
]

__getattr__ = lazy_face(
    __name__,
    {
        "area": "AreaOptions",
        "calibrated": "Calibration LabelledScene feature_settings read_calibration write_calibration",
        "decision": "Decider Decision",
        "facts": "FACT_OPTIONS FACT_TYPES",
        "measured": "Measured SceneSummary as_json extent_of together",
        "options": "ClassOptions PredictOptions RunOptions",
        "class_list": "listed_classes",
        "cost": "Held estimate usable_cores",
        "plan": "KEPT_BYTES Plan Tile make_plan remarks",
        "provenance": "run_tags",
        "sample": "by_tile sampled_logits windows_at",
        "scene_to_mask": (
            "Predictor Prepared assembled_once finish_outputs is_done left_alone predict_scene predictor_for prepared "
            "summarise write_region"
        ),
        "schedule": "Model Work work_for",
        "segment": "segmented_rows",
        "tiled": "tile_rows",
        "settings": "ADVISED Settings defaults_now resolve_settings",
    },
)
