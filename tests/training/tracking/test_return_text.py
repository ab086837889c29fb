"""Returns as people read them."""

from palaestra.training.tracking.return_text import return_digits, return_text, return_texts


def test_small_returns_keep_two_decimals():
    assert return_text(0.9587) == "0.96"
    assert return_text(-0.5) == "-0.50"
    assert return_text(237.44) == "237.4"


def test_returns_that_stand_together_have_as_many_decimals():
    assert return_texts(0.94, 0.0312, 0.5, 1.0) == ["0.94", "0.03", "0.50", "1.00"]
    assert return_texts(500.0, 0.0) == ["500.0", "0.0"]
    assert return_digits(9.4, -12.0) == 1
