"""Old path of ``python -m studies.compare``."""

from tools.moved import run

if __name__ == "__main__":
    run("tools.compare", "studies.compare")
