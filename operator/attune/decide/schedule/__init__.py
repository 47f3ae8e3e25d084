"""When a TrainingSchedule acts, and what it then does: scheduled times, data preparation, training, history, defaults.

Called by `decide.training_schedule`, which says in which order. docs/schedules.md tells users the same.
"""
