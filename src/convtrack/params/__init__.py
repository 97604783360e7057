"""params.yaml: its schema and only parser, messages about what is wrong in it, edits that keep comments, presets."""
