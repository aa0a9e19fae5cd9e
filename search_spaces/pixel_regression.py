"""Knobs of `pixel_regression`. Source: `animal_faces`."""

from search_spaces.knob import Choice, Interval, Space

SECTION = "section 7.1"
NOT_GIVEN = "not given in the source"
SPACE: Space = {
    "solver": Choice(("least_squares", "gradient_descent"), "gradient_descent", "", SECTION, "the source's, and what it approaches"),
    "learning_rate": Interval(1e-7, 1e-3, 1e-5, "per step", SECTION, "two decades on each side; on levels of 0 to 255", log=True),
    "descent_steps": Interval(1, 1000, 1, "steps", NOT_GIVEN, "on each batch; a thousand nearly solve it", kind="int", log=True),
    "stable_step": Choice((True, False), True, "", NOT_GIVEN, "shortened where it would overshoot, or as long as given"),
    "initial_deviation": Interval(0.0, 1.0, 0.1, "1", NOT_GIVEN, "0 starts from no weights; 1 is eight times the mean's weight"),
    "bias": Choice((True, False), False, "", NOT_GIVEN, "a constant beside the eight weights, on and off"),
    "batch_images": Choice((1, 8, 16, 32, 64, 128), 32, "images", NOT_GIVEN, "one photograph, as in the source, to what fits a laptop"),
}
