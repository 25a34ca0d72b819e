"""``python -m pumice``: the command line without its script."""

from pumice.cli import main

if __name__ == "__main__":
    main()
