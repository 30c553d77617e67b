"""The requests about models on disk, which need no loaded model: discover and fit."""
