"""What the operating system does to a process: signals, locks, the death of its parent, the processor it runs on."""
