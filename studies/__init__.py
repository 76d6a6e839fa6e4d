"""Programs in addition to the three scripts: benchmark, head study, comparison, export. Nothing imports them."""
