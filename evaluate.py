"""Measure how far samples are from data: python evaluate.py --help says how."""

from scoresde.cli.evaluate import main

if __name__ == "__main__":
    main()
