"""``python -m convtimenet``: the command line."""

import sys

from convtimenet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
