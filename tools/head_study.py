"""Old path of ``python -m studies.head_study``."""

from tools.moved import run

if __name__ == "__main__":
    run("tools.head_study", "studies.head_study")
