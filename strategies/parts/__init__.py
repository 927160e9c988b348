"""What the methods share: populations, weights, resampling, selection, trees."""
