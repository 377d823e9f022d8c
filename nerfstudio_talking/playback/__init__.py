"""Playing a trained portrait back fast: what can be frozen of it, frozen once (`ns-talking bake`)."""
