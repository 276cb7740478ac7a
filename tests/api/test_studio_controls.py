"""What browsers tell of the controls of pages."""

import pytest

from api.studio.elements.controls import within


@pytest.mark.parametrize(
    ("told", "taken"), [(0.3, 0.3), ("0.3", 0.3), (1e308, 1), (-5, 0.1), ("nan", 0.1), ("inf", 1)]
)
def test_a_slider_goes_no_further_than_it_does(told: object, taken: float) -> None:
    assert within(told, 0.1, 1) == taken
