"""`python -m kiroproxy` is the console script."""

from kiroproxy.cli import main

if __name__ == "__main__":
    main(prog_name="kiroproxy")
