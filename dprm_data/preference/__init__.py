"""From votes to preference distributions: families of priors, updates, smoothing, intervals, agreement."""
