"""Many ranks, seeds and folds beside each other, to choose the rank."""
