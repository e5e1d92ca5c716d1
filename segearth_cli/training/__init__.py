"""SimFeatUp from unlabelled imagery: random windows, one step after another, checkpoints that go on to the bit.

The recipe names every setting, the objective is the published one, pictures show what was learned.
Knows no class and no mask.
"""

from typing import TYPE_CHECKING

from segearth_cli.faces import lazy_face

if TYPE_CHECKING:
    from segearth_cli.training.collection import collect
    from segearth_cli.training.loop import TrainingJob, Upsampled, export_ckpt, train
    from segearth_cli.training.named import train_on
    from segearth_cli.training.pictures import save_looks
    from segearth_cli.training.places import check_out, image_files, run_folder, run_targets
    from segearth_cli.training.recipe import Recipe, TrainOptions
    from segearth_cli.training.step import Learner, Peers
    from segearth_cli.training.windows import Windows

__all__ = [
    "Learner",
    "Peers",
    "Recipe",
    "TrainOptions",
    "TrainingJob",
    "Upsampled",
    "Windows",
    "check_out",
    "collect",
    "export_ckpt",
    "image_files",
    "run_folder",
    "run_targets",
    "save_looks",
    "train",
    "train_on",
]

__getattr__ = lazy_face(
    __name__,
    {
        "collection": "collect",
        "loop": "TrainingJob Upsampled export_ckpt train",
        "named": "train_on",
        "pictures": "save_looks",
        "places": "check_out image_files run_folder run_targets",
        "recipe": "Recipe TrainOptions",
        "step": "Learner Peers",
        "windows": "Windows",
    },
)
