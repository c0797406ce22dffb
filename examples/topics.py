"""The topics of the documentation of scikit-learn.

    python examples/topics.py [--out FOLDER]

The texts are the docstrings of all public classes and functions of scikit-learn, about 500. The words of a topic
belong together, although no labels were given, and the texts in which a topic is strongest are mostly from one
module.
"""

import inspect
from collections import Counter

import numpy as np
from gallery import BLUE, arguments, draw, save, tidy
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.discovery import all_estimators, all_functions

import dnmf

TOPICS, WORDS, STRONGEST = 12, 8, 10

options = arguments(__doc__)
public = {name: thing for name, thing in [*all_estimators(), *all_functions()] if inspect.getdoc(thing)}
names = np.array(list(public))
modules = np.array([thing.__module__.split(".")[1] for thing in public.values()])
weighing = TfidfVectorizer(
    stop_words="english", token_pattern="[a-z]{3,}", min_df=4, max_df=0.2, sublinear_tf=True
)  # ignore words that occur in more than a fifth of the texts
V = weighing.fit_transform(inspect.getdoc(thing) for thing in public.values()).T.tocsc()
print(f"{V.shape[0]:,} words in {V.shape[1]} texts, {V.nnz / np.prod(V.shape):.1%} of the counts above 0")

result = dnmf.factorize(V, rank=TOPICS, seed=0, row_names=list(weighing.get_feature_names_out()))
print(result.verdict)
result = result.scaled("rows")  # the largest topic first

figure = draw(9, 8, f"{TOPICS} topics of scikit-learn's documentation; above each, its two strongest texts")
shares = []
for axes, top, use in zip(figure.subplots(4, 3).ravel(), result.top(WORDS, "rows"), result.H, strict=True):
    (words, weights), texts = zip(*top, strict=True), use.argsort()[::-1][:STRONGEST]
    module, count = Counter(modules[texts]).most_common(1)[0]
    shares.append(count / STRONGEST)
    print(f"{' '.join(words):80} {count:2} of {STRONGEST} from {module}")
    axes.barh(words, np.divide(weights, weights[0]), color=BLUE)
    axes.invert_yaxis()
    tidy(axes)
    axes.set_title(f"{names[texts[0]]}\n{names[texts[1]]}", fontsize=9)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
figure.supxlabel("weight of a word in its topic, largest = 1", fontsize=9)
chance = sum((count / len(modules)) ** 2 for count in Counter(modules).values())
share = np.mean(shares)
print(f"{share:.0%} of a topic's {STRONGEST} strongest texts are from one module; by chance, {chance:.0%}")
save(figure, options.out / "topics.png")
