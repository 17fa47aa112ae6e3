"""Engines turn prompts into completions. `local` samples from the student's own weights in this process."""
