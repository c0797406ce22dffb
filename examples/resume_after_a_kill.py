"""A run that is killed with `kill -9`, and resumed from its last checkpoint to the same bits.

    python examples/resume_after_a_kill.py [--out FOLDER]

A separate process factorises a matrix and reports every pass. A few passes after a checkpoint it is killed, and the
run is resumed in this process. The passes after the checkpoint are lost and repeated; from there the run equals an
uninterrupted one to the last bit, which is checked.
"""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from gallery import BLUE, ORANGE, arguments, draw, save, tidy

import dnmf

RANK, PASSES, EVERY, KILLED = 10, 40, 6, 16  # the checkpoint before the kill is that of pass 12
OPTIONS = {"solver": "hals", "init": "random", "tol": 0, "max_passes": PASSES, "checkpoint_every": EVERY}
FLAGS = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", str(value))]

options = arguments(__doc__)
rng = np.random.default_rng(0)
V = rng.random((400, RANK)) @ rng.random((RANK, 20_000)) + 0.01 * rng.random((400, 20_000))
reported = []
with tempfile.TemporaryDirectory() as folder:
    matrix, store = Path(folder, "V.npy"), Path(folder, "run.zarr")
    np.save(matrix, V.astype("float32"))
    command = [sys.executable, "-m", "dnmf", "fit", matrix, "--rank", str(RANK), "--store", store, "--json", *FLAGS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:  # one JSON object a pass
            reported.append(json.loads(line)["relative_error"])
            if len(reported) == KILLED:
                child.send_signal(signal.SIGKILL)
    kept = dnmf.load(store).passes
    print(f"killed by signal {-child.returncode} after pass {len(reported)}; the newest checkpoint is of pass {kept}")
    resumed = dnmf.resume(store)
    whole = dnmf.factorize(matrix, RANK, **OPTIONS)
    same = np.array_equal(resumed.W, whole.W) and np.array_equal(np.asarray(resumed.H), np.asarray(whole.H))
print(f"resumed from there to pass {resumed.passes}; same bits as an uninterrupted run: {same}")
assert same

error = [record.relative_error for record in whole.history]
after = [record.relative_error for record in resumed.history[kept:]]
figure = draw(9, 3.6, f"Killed after pass {len(reported)}, resumed from pass {kept}, equal to the last bit")
axes = figure.subplots()
axes.plot(range(1, PASSES + 1), error, color="0.8", linewidth=7, label="uninterrupted")
axes.plot(range(1, len(reported) + 1), reported, color=ORANGE, marker="x", label="before the kill")
axes.plot(range(kept + 1, PASSES + 1), after, color=BLUE, marker=".", label="resumed")
for checkpoint in range(EVERY, PASSES, EVERY):
    axes.axvline(checkpoint, color="0.6", linestyle=":", linewidth=1)
for word, place, colour in (("kill -9", len(reported), ORANGE), ("resume", kept, BLUE)):
    arrow = {"arrowstyle": "->", "color": colour}
    axes.annotate(word, (place, error[place - 1]), (place, 0.04), ha="center", color=colour, arrowprops=arrow)
axes.set(yscale="log", yticks=(ticks := [0.01, 0.02, 0.05, 0.1]), yticklabels=ticks)
axes.minorticks_off()
axes.legend(fontsize=9, frameon=False)
tidy(axes, "dotted: a checkpoint is written", "pass over the matrix", "relative error")
save(figure, options.out / "resume_after_a_kill.png")
