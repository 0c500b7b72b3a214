"""What every part of the trainers uses: errors, settings, caches, the start and the end of a training."""
