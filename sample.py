"""Draw samples from a trained model: python sample.py --help says how."""

from scoresde.cli.sample import main

if __name__ == "__main__":
    main()
