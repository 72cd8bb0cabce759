"""Training: losses, the two stages and the autoencoder, sharding, checkpoints, logs."""
