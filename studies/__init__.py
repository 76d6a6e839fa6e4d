"""Programs in addition to the three scripts: benchmark, head study, comparison of runs. Nothing imports them."""
