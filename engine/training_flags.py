"""The flags of training: optimizer, loss and repeats. Torch-free, so that ``--help`` is instant."""

from collections.abc import Callable
from typing import Any

from tools.flags import comma_list, number, real, switch, whole

BEST_METRICS = ("top1", "balanced_accuracy", "auroc", "loss")  # of the validation pictures; the keys of engine.best


# fmt: off
def optimisation_flags(add: Callable[..., Any]) -> None:
    """Add the flags of the optimizer and of the length of a run."""
    add("--lr", **real(1e-4, metavar="LR", above=0),
        help="learning rate of AdamW")
    add("--sched", choices=("step", "cosine"), default="step",
        help="learning rate over time: step divides it by 10 every --lr_drop epochs, cosine lowers it to 0")
    add("--lr_drop", **whole(70, metavar="EPOCHS", low=1),
        help="epochs between two drops of the step schedule; each drop also saves a numbered checkpoint")
    add("--warmup_epochs", **real(0.0, metavar="EPOCHS", low=0),
        help="raise the learning rate linearly from 0 over these first epochs")
    add("--batch_size", **whole(64, low=1, high=100_000),
        help="pictures per step and process; an epoch leaves out an incomplete last batch")
    add("--weight_decay", **real(0.01, low=0),
        help="weight decay of AdamW; the published code parsed 1e-4 but trained with 0.01, the default here")
    add("--accum_steps", **whole(1, low=1),
        help="accumulate the gradients of N batches per step, as if --batch_size were N times as large (batch norm "
             "and attention penalty still see one batch at a time)")
    add("--ema", **real(None, metavar="DECAY", above=0, below=1),
        help="keep an exponential moving average of the weights, with a decay such as 0.999, which is then evaluated "
             "and saved as the model")
    add("--grad_checkpointing", **switch(False),
        help="recompute the backbone's activations in the backward pass: less memory, more time; the running "
             "statistics of batch norm count each batch twice")
    add("--clip_grad", **real(None, metavar="NORM", above=0),
        help="scale the gradient down to this norm if it is larger; if not given, it is never scaled")
    add("--epochs", **whole(10, low=1),
        help="number of passes over the training pictures")
    add("--patience", **whole(None, metavar="EPOCHS", low=1),
        help="end the run after this many epochs without a better one by --checkpoint_metric; if not given, it has all "
             "its epochs")
    add("--checkpoint_metric", choices=BEST_METRICS, default="top1",
        help="metric of the validation pictures by which <run>_checkpoint_best.pth is the best; a resumed run keeps "
             "its metric if the flag is not given")
    add("--start_epoch", **whole(0, low=0),
        help="number of the first epoch; --resume sets it")


def loss_flags(add: Callable[..., Any]) -> None:
    """Add the flags of the loss, of the seed and of the repeats."""
    add("--lambda_value", type=comma_list(number(float, low=0)), default="1.", metavar="X[,X...]",
        help="weight of the attention penalty (the area loss of the paper): larger values make explanations smaller; a "
             "comma list trains one run for each value")
    add("--power", type=comma_list(number(float, above=0)), default="2", metavar="X[,X...]",
        help="the penalty is the mean attention to this power; a comma list trains one run for each value")
    add("--class_weights", choices=("none", "balanced"), default="none",
        help="balanced: a class counts in the cross entropy in inverse proportion to its number of pictures")
    add("--label_smoothing", **real(0.0, low=0, high=1),
        help="share of each label that the training loss spreads over all classes")
    add("--temperature", **real(1.0, above=0),
        help="divide the logits by this in the training loss; 2 makes up for the low confidence of label smoothing")
    add("--absent_weight", **real(0.0, low=0, high=1e6),
        help="weight of the evidence for classes that a picture does not show, in the training loss")
    add("--seed", **whole(0, low=0, high=2**53),
        help="seed of initial weights, picture order and augmentation; each repeat adds 1")
    add("--iterated_evaluation_num", **whole(1, low=1, high=10_000),
        help="repeat each run with this many seeds; a table gives mean and standard deviation")
# fmt: on
