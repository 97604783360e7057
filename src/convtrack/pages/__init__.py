"""What all HTML pages share: the template with their head and style, and how it is filled in."""
