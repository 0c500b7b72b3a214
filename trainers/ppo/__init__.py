"""PPO: align a policy with a reward read from predicted distributions."""
