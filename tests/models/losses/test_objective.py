import pytest
import torch

from models.losses import L1, L2, Objective, Stage, Term, WeightedSum

RESTORED, TARGET = torch.full((1, 3, 4, 4), 0.5), torch.full((1, 3, 4, 4), 0.3)


def test_a_sum_weights_its_terms_and_reports_them_without_weights() -> None:
    loss = WeightedSum([Term("l1", 2.0, L1()), Term("l2", 10.0, L2())])
    total, terms = loss(RESTORED, TARGET)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {"l1": 0.2, "l2": 0.04}
    )
    assert total.item() == pytest.approx(2 * 0.2 + 10 * 0.04)


def test_the_gradient_is_that_of_the_weighted_terms() -> None:
    leaf = RESTORED.clone().requires_grad_()
    total, terms = WeightedSum([Term("l1", 2.0, L1())])(leaf, TARGET)
    total.backward()
    assert leaf.grad is not None
    assert torch.allclose(leaf.grad, torch.full_like(leaf, 2 / 48))
    assert not terms["l1"].requires_grad


def test_the_adversarial_term_is_the_callers_and_left_out_without_it() -> None:
    loss = WeightedSum([Term("l1", 1.0, L1()), Term("relativistic_gan", 0.005, None)])
    total, terms = loss(RESTORED, TARGET, adversarial=lambda: torch.tensor(4.0))
    assert total.item() == pytest.approx(0.2 + 0.005 * 4)
    assert terms["relativistic_gan"].item() == 4
    total, terms = loss(RESTORED, TARGET)
    assert total.item() == pytest.approx(0.2)
    assert list(terms) == ["l1"]


def test_stages_take_turns_at_their_ends() -> None:
    objective = Objective([Stage([Term("l1", 1, L1())], 3), Stage([Term("l2", 1, L2())])])
    names = [list(objective(RESTORED, TARGET, iteration)[1]) for iteration in (0, 2, 3, 9)]
    assert names == [["l1"], ["l1"], ["l2"], ["l2"]]


def test_only_the_stage_with_the_term_asks_for_the_adversarial_value() -> None:
    objective = Objective(
        [Stage([Term("l1", 1, L1())], 3), Stage([Term("relativistic_gan", 1, None)])]
    )

    def refuse() -> torch.Tensor:
        raise AssertionError("this stage has no adversarial term")

    objective(RESTORED, TARGET, 0, adversarial=refuse)
    with pytest.raises(AssertionError, match="no adversarial term"):
        objective(RESTORED, TARGET, 3, adversarial=refuse)


def test_terms_of_one_name_and_stages_without_an_end_are_refused() -> None:
    with pytest.raises(ValueError, match="different names; these are"):
        WeightedSum([Term("l1", 1, L1()), Term("l1", 2, L1())])
    with pytest.raises(ValueError, match=r"every stage but the last has an end.*\(None, None\)"):
        Objective([Stage([Term("l1", 1, L1())]), Stage([Term("l2", 1, L2())])])
