"""Scene to mask: planned, cut into windows, run through the model, stitched, decided and written.

One region at a time, in memory that does not grow with the scene's height; the result does not depend on the cut.
(The package is not called `predict`, because `segearth_cli.predict` is the public function.)
Knows no command line and no other process.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.prediction.decision import Decider, Decision
    from segearth_cli.prediction.plan import KEPT_BYTES, Plan, PredictOptions, estimate, make_plan, provenance
    from segearth_cli.prediction.scene_to_mask import (
        RunOptions,
        Summary,
        as_json,
        done_before,
        predict_scene,
        run_facts,
        summarise,
    )
    from segearth_cli.prediction.segment import Model, Work, segmented_rows, work_for

__all__ = [
    "KEPT_BYTES",
    "Decider",
    "Decision",
    "Model",
    "Plan",
    "PredictOptions",
    "RunOptions",
    "Summary",
    "Work",
    "as_json",
    "done_before",
    "estimate",
    "make_plan",
    "predict_scene",
    "provenance",
    "run_facts",
    "segmented_rows",
    "summarise",
    "work_for",
]

__getattr__ = lazy_face(
    __name__,
    {
        "decision": "Decider Decision",
        "plan": "KEPT_BYTES Plan PredictOptions estimate make_plan provenance",
        "scene_to_mask": "RunOptions Summary as_json done_before predict_scene run_facts summarise",
        "segment": "Model Work segmented_rows work_for",
    },
)
