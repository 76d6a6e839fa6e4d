"""Evidence maps of a few validation pictures, followed through the training of a slot model."""

from matplotlib.figure import Figure

from engine.explain.drawing import followed_rows
from engine.session import Session
from tools.figures.explanations import draw_overview


def draw_followed(session: Session) -> Figure | None:
    """Figure of the current evidence maps of a few validation pictures; None without slots."""
    if not session.configs["model_config"]["use_slot"]:
        return None
    statistics = {key: session.configs["data_config"][key] for key in ("mean", "std")}
    rows = followed_rows(
        session.evaluated, session.val_loader.dataset, statistics, negative=session.is_negative, device=session.device
    )
    return draw_overview(rows, negative=session.is_negative)
