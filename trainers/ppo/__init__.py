"""PPO: a policy aligned with the reward that a distribution is read as."""
