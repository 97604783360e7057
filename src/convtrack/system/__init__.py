"""The process and its operating system: signals, locks, parent watchdog, temporary files, processor."""
