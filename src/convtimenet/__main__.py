"""``python -m convtimenet``: the command line."""

from convtimenet.cli.main import main

if __name__ == "__main__":
    main()
