"""`convtrack` and `python -m convtrack`."""

from convtrack.cli import main

if __name__ == "__main__":
    main()
