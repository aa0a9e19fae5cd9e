"""Knobs of `flat_row_lstm`. Source: `beyond_cnns`."""

from search_spaces.knob import Choice, Interval, Space

METHODS = "section Flattened Row LSTM"
IDEA = "section Density Based Models"
RESULTS = "section Results / Density Methods"
NOT_GIVEN = "not given in the source"
SPACE: Space = {
    "hidden": Choice((32, 64, 128, 256), 64, "units", RESULTS, "64 in the source, which could not try many values"),
    "layers": Interval(1, 4, 1, "layers", METHODS, "'incorporating multiple LSTM networks' is proposed", kind="int"),
    "embedding": Choice(
        (0, 16, 32, 64, 128), 0, "values", METHODS, "0 = one-hot vectors directly, as in the source; a narrow map is faster"
    ),
    "above": Choice((False, True), False, "", METHODS, "the state alone carries the rows above in the source"),
    "target_blur": Interval(0.0, 32.0, 0.0, "levels", METHODS, "0 = the exact level; the source asks whether near levels should count"),
    "backprop_rows": Interval(0, 32, 4, "rows", NOT_GIVEN, "0 = the whole image; more rows, fewer updates", kind="int"),
    "learning_rate": Interval(1e-4, 3e-2, 3e-3, "per step", NOT_GIVEN, "around Adam's default, LSTMs stand more", log=True),
    "decay_factor": Interval(0.1, 1.0, 0.5, "factor", NOT_GIVEN, "1 = no decay; below 0.1 training freezes"),
    "decay_epochs": Interval(0.05, 50.0, 3.0, "epochs", NOT_GIVEN, "several decays within any usual budget", log=True),
    "clip_norm": Interval(0.1, 100.0, 1.0, "1", NOT_GIVEN, "keeps long recurrences stable; 100 hardly ever acts", log=True),
    "batch_images": Choice((8, 16, 32, 64, 128), 32, "images", NOT_GIVEN, "small batches update more often within a time"),
    "decoding": Choice(("argmax", "mean", "sample"), "argmax", "", IDEA, "greedy in the source; mean lowers squared error"),
    "temperature": Interval(0.1, 2.0, 1.0, "1", NOT_GIVEN, "sampling alone; 1 is the model's distribution"),
    "decoding_seed": Interval(0, 1000, 0, "", NOT_GIVEN, "sampling alone; another draw each", kind="int"),
    "mirror": Choice((True, False), False, "", NOT_GIVEN, "the usual augmentation"),
    "precision": Choice(("float32", "bfloat16"), "float32", "", NOT_GIVEN, "speed: mixed precision where the hardware has it"),
}
