"""The unlabelled images that mini's SimFeatUp is trained on: python -m scripts.mini_images TRAIN OUT.

RSICD (train and valid) and UC Merced, as they lie in the archives.
"""

import json
import sys
import tarfile
from pathlib import Path


def main(train: Path, out: Path) -> None:
    """Unpack them into OUT, flat."""
    rows = [json.loads(line) for line in (train / "captions.jsonl").read_text().splitlines()]
    wanted = {(row["archive"], row["key"] + ".jpg") for row in rows if row["split"] != "test"}
    out.mkdir(parents=True, exist_ok=True)
    for archive in sorted({name for name, _ in wanted if not name.startswith("eurosat")}):
        with tarfile.open(train / archive) as opened:
            for member in opened:
                if (archive, member.name) in wanted and (content := opened.extractfile(member)):
                    (out / f"{archive[:-4]}_{Path(member.name).name}").write_bytes(content.read())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
