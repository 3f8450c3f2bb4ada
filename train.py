"""Train a score network: python train.py --help says how."""

from scoresde.cli.train import main

if __name__ == "__main__":
    main()
