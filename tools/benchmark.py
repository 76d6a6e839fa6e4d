"""Old path of ``python -m studies.benchmark``."""

from tools.moved import run

if __name__ == "__main__":
    run("tools.benchmark", "studies.benchmark")
