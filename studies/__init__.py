"""Programs beside the three scripts: benchmarks, the study of heads, comparisons. Nothing imports them."""
