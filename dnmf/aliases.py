"""Names of losses and options in other packages, which errors propose the names of dnmf for."""

# Names of losses in other packages.
LOSS_ALIASES = dict.fromkeys(("euclidean", "fro", "gaussian", "l2", "mse"), "frobenius")
LOSS_ALIASES |= {"kl": "kullback-leibler", "poisson": "kullback-leibler", "is": "itakura-saito"}

# Names of options in other packages, in lower case.
OPTION_ALIASES = {
    "alpha_h": "l2_H",
    "alpha_w": "l2_W",
    "batch_size": "memory_limit",
    "beta": "loss",
    "beta_loss": "loss",
    "callback": "watchers",
    "callbacks": "watchers",
    "chunks": "memory_limit",
    "epochs": "max_passes",
    "iterations": "max_passes",
    "k": "rank",
    "mask": "weights",
    "max_iter": "max_passes",
    "method": "solver",
    "n_components": "rank",
    "n_init": "n_runs",
    "n_iter": "max_passes",
    "n_jobs": "threads",
    "n_threads": "threads",
    "nrun": "n_runs",
    "random_state": "seed",
    "runs": "n_runs",
    "tolerance": "tol",
    "update": "solver",
    "verbose": "progress",
    "volume": "volume_W",
}
