"""``python -m radwright``."""

from radwright.cli.main import main

if __name__ == "__main__":
    main()
