"""Progress of a PPO training.

training_log     metrics and samples of every step, on disk
history          the metrics, averaged to as many points as a chart shows
curves           charts
progress_page    the live page
"""
