"""Fit a solver's grid and weights to a trained model: python calibrate.py --help says how."""

from scoresde.cli.calibrate import main

if __name__ == "__main__":
    main()
