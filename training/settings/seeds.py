"""Seeds that a run's own seed is added to, so that nothing is judged on episodes that something learned from."""

# Training takes the seed itself.
EVALUATION_SEED = 1_000_000
# Final scores: neither training nor its evaluations have seen them.
FINAL_SEED = 2_000_000
# What world models learn from.
DATA_SEED = 3_000_000
# What clones learn from.
DEMONSTRATION_SEED = 4_000_000
