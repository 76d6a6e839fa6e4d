"""Absurd and contradicting flags, and damaged argument files."""

from collections.abc import Callable

from studies.chaos.scene import DONE, REFUSED, SLOTS, Scene, Start

# Not --epochs: a run of 10**12 epochs is what its flag says.
WHOLE = ("batch_size", "img_size", "hidden_dim", "num_workers", "seed", "slots_per_class", "iters", "to_k_layer",
         "num_classes", "lr_drop", "accum_steps", "out_stage", "freeze_layers", "start_epoch", "channel",
         "iterated_evaluation_num")  # fmt: skip
REAL = ("lr", "weight_decay", "lambda_value", "power", "dropout", "logit_scale", "salience", "label_smoothing",
        "temperature", "ema", "clip_grad", "warmup_epochs", "val_ratio")  # fmt: skip
OF_METRICS = ("metric_steps", "infidelity_samples", "sensitivity_samples", "metric_images", "vis_id")
TRAIN = (
    "--model resnet19", "--model ../../etc/passwd", "--dataset folder", "--learning_rate 1", "--checkpoint x.pth",
    "--split test", "--resume nowhere.pth", "--lambda_value 1,1", "--hidden_dim 6", "--use_pre true", "--img_size 4",
    "--iterated_evaluation_num 2 --resume nowhere.pth", "--device abacus", "--num_classes 2", "--out_stage 9",
    "--backbone_weights nowhere.pth", "--lsc nowhere.csv --loss_status -1", "--sync_bn true", "--world_size",
)  # fmt: skip
TEST = (
    "--classes pink", "--classes 3", "--classes -1", "--vis_id 9", "--vis_id 5-2", "--vis_id x", "--hidden_dim 32",
    "--use_slot false", "--image nowhere.png", "--lambda_value 1,2", "--checkpoint nowhere.pth", "--img_size 0x0",
    "--dataset_dir nowhere", "--split test",
)  # fmt: skip


def huge(scene: Scene) -> Start:
    """A whole number of 7 to 30 digits, which may be accepted where its size does not matter, or a negative one."""
    value = scene.random.choice([1, -1]) * 10 ** scene.random.randrange(6, 30)
    if scene.random.random() < 0.3:
        flag = scene.random.choice(OF_METRICS)
        words = ("--explain_metrics", "true") if flag != "vis_id" else ()
        return scene.test(*words, f"--{flag}={value}", codes=(DONE, REFUSED))
    return scene.train(f"--{scene.random.choice(WHOLE)}={value}", codes=(DONE, REFUSED))


def not_a_number(scene: Scene) -> Start:
    """NaN, infinity or text for a real number."""
    value = scene.random.choice(["nan", "inf", "-inf", "1e400", "", "ten", "1,5x", "0x10", "--"])
    return scene.train(f"--{scene.random.choice(REAL)}={value}", codes=(REFUSED,))


def wrong_for_training(scene: Scene) -> Start:
    """Flags that training refuses."""
    return scene.train(*scene.random.choice(TRAIN).split(), codes=(REFUSED,))


def wrong_for_explaining(scene: Scene) -> Start:
    """Flags that both other scripts refuse."""
    return scene.random.choice([scene.test, scene.methods])(*scene.random.choice(TEST).split(), codes=(REFUSED,))


def contradiction(scene: Scene) -> Start:
    """Flags of test.py that exclude each other, or the checkpoint."""
    image = f"--image {scene.picture()} --explain_metrics true"
    words = scene.random.choice([image, f"--report {scene.out / SLOTS}", f"--report {scene.data}", "--dropout=2"])
    return scene.test(*words.split(), codes=(REFUSED,))


def argument_file(scene: Scene) -> Start:
    """An argument file that cannot be read, or names itself."""
    file, other = scene.folder / "flags.txt", scene.folder / "other.txt"
    other.write_text(f"@{file}")
    texts = (f"--lr 1e-3\n@{file}\n", f"@{other}", '--vis_dir "never closed', "\xff\xfe\0", "--lr\n", "@nowhere.txt")
    file.write_text(scene.random.choice(texts), encoding="latin-1")
    name = scene.random.choice([file, file, file, scene.folder, scene.folder / "nowhere", scene.picture()])
    return scene.any_script(f"@{name}", codes=(REFUSED,))


FLAGS: dict[str, Callable[[Scene], Start]] = {
    "huge or negative number": huge,
    "no number": not_a_number,
    "wrong for training": wrong_for_training,
    "wrong for explaining": wrong_for_explaining,
    "contradiction": contradiction,
    "argument file": argument_file,
}
