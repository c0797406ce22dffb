"""Films that people will like, from the one rating in a hundred that is known.

    python examples/recommender.py [--out FOLDER] [--size PEOPLE]

Simulated ratings of 2000 films: each person mixes four tastes, and gives one to five stars to about twenty films.
Entries that V does not store are unknown, not 0, hence `missing="zeros"`. `predict` gives the held-back ratings, better
than the mean of a film does, and `recommend` the best films that a person has not rated: more of them are liked, with
four or five stars.
"""

import numpy as np
import scipy.sparse as sp
from gallery import BLACK, BLUE, ORANGE, arguments, draw, save, tidy

import dnmf

FILMS, TASTES, KNOWN, HELD, TOP = 2000, 4, 0.01, 0.2, 20

options = arguments(__doc__, size=6000, unit="people")
people = options.size
rng = np.random.default_rng(0)
mix = rng.gamma(0.3, 1.0, (TASTES, people))
liking = 1 + 4 * rng.beta(0.6, 1.0, (FILMS, TASTES)) @ (mix / mix.sum(axis=0))  # before it is rounded to stars
fame = 1 + rng.pareto(1.5, FILMS)
count = int(KNOWN * FILMS * people)
seen = np.unique(FILMS * rng.integers(people, size=count) + rng.choice(FILMS, count, p=fame / fame.sum()))
person, film = np.divmod(seen, FILMS)
stars = np.clip(np.round(liking[film, person] + rng.normal(0, 0.5, len(seen))), 1, 5)
held = rng.random(len(seen)) < HELD
film_held, person_held, stars_held = film[held], person[held], stars[held]
V = sp.csr_array((stars[~held], (person[~held], film[~held])), shape=(people, FILMS))
print(f"{V.nnz:,} ratings are known, {V.nnz / FILMS / people:.2%} of all; {held.sum():,} are held back")


def miss(predicted):
    """Return the root mean square error of the stars that were held back."""
    return np.sqrt(((np.clip(predicted, 1, 5) - stars_held) ** 2).mean())


def hits(best):
    """Return the share liked (at least 4 of 5) among the first 1, 2, … of the films (people, TOP) ranked for people."""
    liked = liking[best, np.arange(people)[:, None]] >= 4
    return liked.mean(axis=0).cumsum() / np.arange(1, TOP + 1)


overall = stars[~held].mean()
means = (V.sum(axis=0) + 5 * overall) / ((V > 0).sum(axis=0) + 5)  # of each film, shrunk towards the overall mean
curve = []
for step in dnmf.iterate(V, TASTES, missing="zeros", l2_W=1, l2_H=1, seed=0, max_passes=40):
    predicted = step.predict((person_held, film_held))
    curve.append(miss(predicted))
errors = {
    "mean of all": miss(overall),
    "mean of the film": miss(means[film_held]),
    "dnmf": curve[-1],
    "the truth": miss(liking[film_held, person_held]),
}
for name, error in errors.items():
    print(f"{name:17} predicts held-back ratings with a root mean square error of {error:.3f} stars")
best = [[film for film, _ in films] for films in step.recommend(n=TOP, exclude=V)]
most_liked = np.argsort(np.where(V.toarray() > 0, 0, -means), axis=1)[:, :TOP]
precision = {"dnmf": hits(np.array(best)), "mean of the film": hits(most_liked)}
for name, liked in precision.items():
    print(f"{name:17} precision@10: {liked[9]:.0%} of its first ten films are liked")

figure = draw(9, 3.6, f"{people:,} people, {FILMS:,} films, {V.nnz / FILMS / people:.1%} of the ratings known")
learning, agreement, ranking = figure.subplots(1, 3)
learning.plot(range(1, len(curve) + 1), curve, color=BLUE, label="dnmf")
for name, colour in (("mean of the film", ORANGE), ("the truth", BLACK)):
    learning.axhline(errors[name], color=colour, linestyle="--", label=name)
learning.legend(fontsize=8, frameon=False)
tidy(learning, "held-back ratings by pass", "pass over the ratings", "root mean square error, stars")
for guess, colour, shift in ((means[film_held], ORANGE, -0.17), (predicted, BLUE, 0.17)):
    groups = [guess[stars_held == value] for value in range(1, 6)]
    boxes = agreement.boxplot(
        groups, positions=np.arange(1, 6) + shift, widths=0.28, showfliers=False, patch_artist=True
    )
    for box, line in zip(boxes["boxes"], boxes["medians"], strict=True):
        box.set(facecolor=colour, linewidth=0.7)
        line.set(color="white")
agreement.set_xticks(range(1, 6), labels=range(1, 6))
tidy(agreement, "predictions (orange: mean of the film)", "true stars", "predicted stars")
for (name, liked), colour in zip(precision.items(), (BLUE, ORANGE), strict=True):
    ranking.plot(range(1, TOP + 1), 100 * liked, color=colour, marker=".", label=name)
ranking.axhline(100 * (liking >= 4).mean(), color=BLACK, linestyle=":", label="films at random")
ranking.set_ylim(0, 100)
ranking.legend(fontsize=8, frameon=False)
tidy(ranking, "precision of the ranking", "number of films ranked first", "liked (%)")
save(figure, options.out / "recommender.png")
