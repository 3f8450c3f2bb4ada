"""Write another project's checkpoint in scoresde's own format: python convert.py checkpoint=… out=…"""

from scoresde.cli.convert import main

if __name__ == "__main__":
    main()
