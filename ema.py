"""Make an average of any length out of a run's snapshots: python ema.py checkpoint=… length=0.05"""

from scoresde.cli.ema import main

if __name__ == "__main__":
    main()
