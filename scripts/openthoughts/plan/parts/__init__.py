"""The planner by part: each module plans some stages of a recipe or experiment."""
