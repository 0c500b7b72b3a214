"""Reward models: losses, training, the trained model in use, the reward for others."""
