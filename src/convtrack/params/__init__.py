"""params.yaml: schema and parser, validation messages, edits that keep comments, presets."""
