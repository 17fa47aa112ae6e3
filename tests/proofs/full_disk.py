"""Runs on a real disk that fills at random points: a program of its own, since it mounts one (`unshare --mount`)."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from tests.proofs import hostile


def main(folder: Path, same: Path, points: int, with_cache: bool) -> None:
    """Fill the disk at `points` random points of a run; each run then goes on with room, to the same end."""
    rng = random.Random(5 + with_cache)
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    if with_cache:
        os.environ["MOPD_CACHE"] = str(disk / "cache")
    whole = sum(path.stat().st_size for path in same.rglob("*") if path.is_file()) // 1024
    warmup = ["warmup={kind='demonstrator', steps=1, batch_size=2}"] if with_cache else []
    if with_cache:
        hostile.start(folder, hostile.train(folder / "warm", "seed=1", *warmup)).assert_clear(0)
        same = folder / "warm"
    for _ in range(points):
        size = rng.randrange(8, whole * 3 // 2)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(disk)], check=True)
        child = hostile.start(folder, hostile.train(disk / "run", "seed=1", *warmup))
        child.assert_clear(0, 2)
        if child.code == 2:
            assert "free space" in child.printed, child.printed
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        run = disk / "run"
        again = ["train", "--resume", str(run), "--quiet"] if (run / "config.json").exists() else None
        hostile.start(folder, again or hostile.train(run, "seed=1", *warmup)).assert_clear(0)
        hostile.assert_same_end(run, same)
        steps = sorted(path.name for path in (run / "checkpoints").iterdir())
        print(f"{size} KiB: exit {child.code}, then whole: {steps}")
        shutil.rmtree(run)
        subprocess.run(["umount", str(disk)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), "--with-cache" in sys.argv)
