"""Broad topics and the narrow ones that they are made of, in the documentation of scikit-learn.

    python examples/topic_hierarchy.py [--out FOLDER]

Two layers are fitted together: narrow topics, and broad ones whose words are those of a few narrow topics.
"""

import inspect

import numpy as np
from gallery import BLUE, arguments, draw, save
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.discovery import all_estimators, all_functions

import dnmf

NARROW, BROAD, WORDS, LEAST = 16, 6, 5, 0.12

options = arguments(__doc__)
texts = [text for _, thing in [*all_estimators(), *all_functions()] if (text := inspect.getdoc(thing))]
weighing = TfidfVectorizer(
    stop_words="english", token_pattern="[a-z]{3,}", min_df=4, max_df=0.2, sublinear_tf=True
)  # ignore words that occur in more than a fifth of the texts
V = weighing.fit_transform(texts).T.tocsc()

result = dnmf.factorize(V, rank=[NARROW, BROAD], seed=0, row_names=list(weighing.get_feature_names_out()))
print(result.verdict)
alone = dnmf.factorize(V, rank=BROAD, seed=0)
print(f"relative error of {BROAD} broad topics: {result.relative_error:.4f}; alone {alone.relative_error:.4f}")

figure = draw(9, 7, f"{BROAD} broad topics of scikit-learn's documentation, and the narrow ones that they are made of")
axes = figure.subplots()
place = 0.0
for broad in result.hierarchy(WORDS):
    print(broad)
    below = [narrow for narrow in broad.made_of if narrow.part >= LEAST]
    middle = place + (len(below) - 1) / 2
    words = [name for name, _ in broad.component.top]
    axes.text(
        0, middle, f"{' '.join(words[:3])}\n{' '.join(words[3:])}", ha="right", va="center", fontsize=9, weight="bold"
    )
    for narrow in below:
        axes.plot(
            [0.02, 0.5, 0.98],
            [middle, (middle + place) / 2, place],
            color=BLUE,
            lw=12 * narrow.part,
            alpha=0.5,
            solid_capstyle="butt",
        )
        named = " ".join(name for name, _ in narrow.component.top)
        axes.text(1.02, place, f"{named}  {narrow.part:.0%}", va="center", fontsize=9)
        place += 1
    place += 0.8
axes.set_xlim(-0.9, 2.4)
axes.set_ylim(place - 0.5, -1)
axes.set_axis_off()
figure.supxlabel("width: part of the broad topic", fontsize=9)
shares = [narrow.part for broad in result.hierarchy() for narrow in broad.made_of[:1]]
print(f"the largest narrow topic makes {np.mean(shares):.0%} of a broad one on average")
save(figure, options.out / "topic_hierarchy.png")
