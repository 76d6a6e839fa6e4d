import re
import shlex
from pathlib import Path

import pytest

import args as flags
from args import build_parser, contradiction, data_config, expand_runs, model_config, parse_args
from engine.explain.settings import METRIC_NAMES

LINES = (Path(__file__).parent / "published_commands.txt").read_text().splitlines()


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("script", ["train", "test", "torchcam_vis"])
def test_published_lines_parse(line, script):
    words = shlex.split(line)
    assert len(LINES) == 25
    words = words[next(i for i, word in enumerate(words) if word.endswith(".py")) + 1 :]
    run = expand_runs(parse_args(words, script))[0]
    for flag, value in zip(words[::2], words[1::2], strict=True):
        got = getattr(run, flag.removeprefix("--"))
        if isinstance(got, bool):
            assert got == (value == "true")
        elif isinstance(got, (int, float)):
            assert got == float(value)
        else:
            assert got == value


def test_defaults_are_those_of_the_published_code_except_three():
    run = expand_runs(parse_args([]))[0]
    published = {
        "model": "resnet18", "dataset": "MNIST", "channel": 512, "lr": 1e-4, "lr_drop": 70, "batch_size": 64,
        "epochs": 10, "num_classes": 10, "img_size": (260, 260), "pre_trained": True, "use_slot": True,
        "use_pre": False, "aug": False, "grad": False, "grad_min_level": 0, "iterated_evaluation_num": 1,
        "cal_area_size": False, "thop": False, "loss_status": 1, "freeze_layers": 2, "hidden_dim": 64,
        "slots_per_class": 3, "power": 2, "to_k_layer": 1, "lambda_value": 1.0, "vis": False, "vis_id": (0,),
        "output_dir": "saved_model/", "start_epoch": 0, "resume": None, "world_size": 1,
        "dist_url": "env://", "attention": "paper", "sched": "step",
    }  # fmt: skip
    assert {name: getattr(run, name) for name in published} == published
    assert run.weight_decay == 0.01 and run.device is None and run.num_workers == "auto"
    assert run.given == frozenset()


def fails(capsys, *words, script="train"):
    with pytest.raises(SystemExit) as caught:
        parse_args([*words], script)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith(f"{script}.py: error: ")
    return err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--loss_status", "0"], "invalid choice: 0 (choose from 1, -1)"),
        (["--num_workers", "many"], "argument --num_workers: 'many' is not a whole number, nor auto (see"),
        (["--num_workers", "-1"], "argument --num_workers: -1 is not a whole number of at least 0 (see"),
        (["--num_workers", "2000"], "argument --num_workers: 2000 is above 1024, the largest value allowed (see"),
        (["--attention", "softmax"], "invalid choice: 'softmax' (choose from"),
        (["--use_slot", "maybe"], "'maybe' is neither true nor false"),
        (["--epochs", "ten"], "'ten' is not a whole number"),
        (["--epochs", "0"], "0 is not a whole number of at least 1"),
        (["--lr", "-1"], "-1 is not a number above 0"),
        (["--lr", "nan"], "nan is not a number above 0"),
        (["--img_size", "0"], "'0' is not a size in pixels"),
        (["--num_classes", "3,,4"], "'' is not a whole number"),
        (["--vis_id", "5-2"], "'5-2' is not a list of numbers or ranges"),
        (["--hidden_dim", "30"], "30 is not a multiple of 4"),
        (["--power", "1,1"], "--power: a value is given twice"),
        (["--grad_min_level", "5"], "5.0 is above 1"),
        (["--vis_id", "0-100000000000"], "names more than 10000 pictures"),
        (["--no_such_flag", "1"], "unrecognized arguments: --no_such_flag 1"),
        (["--img_sze", "3"], "unrecognized arguments: --img_sze 3: did you mean --img_size?"),
        (["@no_such_file.txt"], "the argument file no_such_file.txt cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_flag_is_one_line_with_the_value(capsys, words, message):
    assert message in fails(capsys, *words)


def test_only_training_takes_lists(capsys):
    assert "--power: test.py takes one value" in fails(capsys, "--power", "1,2", script="test")


@pytest.mark.parametrize("text", ["true", "True", "yes", "1"])
def test_true_has_many_names(text):
    assert parse_args(["--use_pre", text]).use_pre is True


@pytest.mark.parametrize(("text", "value"), [("260", (260, 260)), ("192x256", (192, 256))])
def test_sizes(text, value):
    assert parse_args(["--img_size", text]).img_size == value


@pytest.mark.parametrize(("text", "value"), [("3", (3,)), ("0,4", (0, 4)), ("7-9,2", (7, 8, 9, 2))])
def test_lists_and_ranges_of_pictures(text, value):
    assert parse_args(["--vis_id", text]).vis_id == value


@pytest.mark.parametrize(("text", "value"), [("false", None), ("true", "auto"), ("auto", "auto"), ("a.pth", "a.pth")])
def test_resume_takes_a_file_or_auto(text, value):
    assert parse_args(["--resume", text]).resume == value


def test_argument_files_may_have_comments_and_are_overridden_by_what_follows(tmp_path):
    file = tmp_path / "run.txt"
    file.write_text("# a run\n--lr 0.5  # high\n--dataset_dir 'my pictures' --epochs 3\n\n")
    run = parse_args([f"@{file}", "--epochs", "4"])
    assert (run.lr, run.dataset_dir, run.epochs) == (0.5, "my pictures", 4)
    assert run.given == {"lr", "dataset_dir", "epochs"}


@pytest.mark.parametrize(("content", "message"), [(b"--vis_dir 'open", "no closing quotation"), (b"\xff\xfe", "UTF-8")])
def test_an_unreadable_argument_file_is_one_line(capsys, tmp_path, content, message):
    (tmp_path / "run.txt").write_bytes(content)
    assert message in fails(capsys, f"@{tmp_path}/run.txt")


def test_lists_are_expanded_to_their_product_and_repeats():
    runs = expand_runs(parse_args(["--lambda_value", "1,3", "--power", "1,2", "--iterated_evaluation_num", "2"]))
    assert [(r.lambda_value, r.power, r.repeat, r.seed) for r in runs] == [
        (lam, power, repeat, repeat) for lam in (1, 3) for power in (1, 2) for repeat in (0, 1)
    ]
    assert runs[-1].swept == {"lambda_value": 3.0, "power": 2.0} and runs[-1].slots_per_class == 3


def test_single_values_make_one_run():
    (run,) = expand_runs(parse_args([]))
    assert run.swept == {} and run.repeat is None and run.seed == 0


def test_num_classes_counts_where_it_is_given_or_the_dataset_takes_the_first_ones():
    asked, silent = (expand_runs(parse_args(words))[0] for words in (["--num_classes", "30"], []))
    assert data_config(asked, first_classes=False)["num_classes"] == 30
    assert data_config(silent, first_classes=False)["num_classes"] is None
    assert data_config(silent, first_classes=True)["num_classes"] == 10


def test_contradictions_name_both_values_and_only_flags_of_the_model_contradict():
    trained = expand_runs(parse_args(["--slots_per_class", "2", "--lambda_value", "1"]))[0]
    config = model_config(trained, num_classes=10, in_chans=1)
    same = parse_args(
        ["--slots_per_class", "2", "--lambda_value", "10", "--epochs", "1", "--freeze_layers", "3"], "test"
    )
    other = parse_args(["--slots_per_class", "5"], "test")
    assert contradiction(expand_runs(same)[0], config) is None
    assert contradiction(expand_runs(other)[0], config) == "--slots_per_class 5, but the checkpoint has 2"


def test_every_flag_is_explained():
    for action in flags.build_parser("train")._actions:
        assert action.help and len(action.help) > 10, action.dest


def test_the_help_says_what_use_pre_freezes():
    text = " ".join(build_parser("train").format_help().split())
    assert "--freeze_layers applies to it, whatever --pre_trained is" in text
    assert "--use_pre true --pre_trained false froze nothing; here 0 does that" in text


def test_every_flag_of_a_whole_number_has_an_upper_bound_and_names_it(capsys):
    parser, metavars = flags.build_parser("train"), ("N", "N|auto", "EPOCHS", "N[,N...]", "PIXELS", "N[,N|-N...]")
    counted = [action for action in parser._actions if action.metavar in metavars and action.type]
    assert {"--batch_size", "--epochs", "--num_workers", "--hidden_dim", "--img_size", "--vis_id", "--rise_masks"} <= {
        a.option_strings[0] for a in counted
    }
    for action in counted:
        flag = action.option_strings[0]
        if flag in ("--local_rank", "--warmup_epochs", "--blur_sigma"):  # ignored, and no whole numbers
            continue
        for value in ("1" + "0" * 20, "9" * 6000, "4" + "0" * 30):
            with pytest.raises(SystemExit) as caught:
                parser.parse_args([flag, value])
            [line] = capsys.readouterr().err.splitlines()
            assert caught.value.code == 2 and re.search(r" is above \d+( pixels)?, the largest", line), line
            assert len(line) < 200


def test_the_number_of_workers_is_auto_or_a_number():
    assert [parse_args(["--num_workers", text]).num_workers for text in ("auto", "AUTO", "0", "7")] == [
        "auto",
        "auto",
        0,
        7,
    ]


def test_explanation_metrics_are_chosen_by_name(capsys):
    default = ["area", "on_object", "insertion_deletion", "infidelity", "sensitivity"]
    plain = parse_args([], "test")
    assert flags.metric_names(plain) == default and not plain.explain_metrics
    chosen = parse_args(["--metrics", "road,area"], "test")
    assert flags.metric_names(chosen) == ["area", "road"] and chosen.explain_metrics
    every = parse_args(["--metrics", "all", "--explain_metrics", "false"], "test")
    assert flags.metric_names(every) == list(METRIC_NAMES) and not every.explain_metrics
    none = parse_args(["--explain_metrics", "true", "--sensitivity_samples", "0"], "test")
    assert flags.metric_names(none) == default[:-1]
    for words, line in (
        ("--metrics road,gridgame", "argument --metrics: 'gridgame' is none of area, on_object, insertion_deletion"),
        ("--metrics sensitivity --sensitivity_samples 0", "argument --metrics: with --sensitivity_samples 0"),
    ):
        with pytest.raises(SystemExit) as error:
            parse_args(words.split(), "torchcam_vis")
        told = capsys.readouterr().err
        assert error.value.code == 2 and line in told and len(told.splitlines()) == 1
