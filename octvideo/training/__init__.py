"""How a VideoClassifier is trained: schedules, optimisers, and the trainer callbacks that watch over a run."""
