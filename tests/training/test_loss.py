"""Targets: smoothing, class weights, mixup, cutmix. If these fail, a model is taught labels that its clips do not
have."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hsta.training.loss import class_weights, labels_of, mean_log_loss, mean_loss, soft_targets
from hsta.training.mix import Mix, draw_beta, draw_mix, join
from tests.training.conftest import CONFIG, RECIPE, trainer, weights


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_smoothing_is_the_usual_one():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    ours = mean_loss(logits, soft_targets(labels, 3, 0.1), None)
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels, label_smoothing=0.1))
    torch.testing.assert_close(mean_loss(logits, soft_targets(labels, 3, 0.0), None), mean_loss(logits, labels, None))
    assert torch.equal(labels_of(soft_targets(labels, 3, 0.1)), labels)


def test_class_weights_come_from_the_clips_and_leave_the_mean_at_one():
    labels = [0] * 8 + [1] * 2 + [2] * 2
    weight = class_weights(labels, 4)
    np.testing.assert_allclose(weight, [0.5, 2.0, 2.0, 0.0])
    assert weight[labels].mean() == pytest.approx(1.0)
    assert all(weight[c] * labels.count(c) == pytest.approx(4.0) for c in (0, 1, 2))


def test_parts_of_a_batch_add_up_to_its_weighted_loss():
    logits, target = torch.randn(8, 3), soft_targets(torch.randint(3, (8,), generator=generator()), 3, 0.1)
    weight = torch.tensor([0.5, 2.0, 3.0])
    first, rest = mean_loss(logits[:2], target[:2], weight), mean_loss(logits[2:], target[2:], weight)
    torch.testing.assert_close(first * 2 / 8 + rest * 6 / 8, mean_loss(logits, target, weight))


def test_the_log_loss_of_a_certain_error_is_finite():
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5]])
    assert mean_log_loss(probabilities, [1, 0]) == pytest.approx((87.3365 + np.log(2)) / 2, rel=1e-3)


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 2.0])
def test_shares_follow_the_beta_distribution(alpha):
    drawn = draw_beta(alpha, 20_000, generator())
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.04)


def clips(count=5):
    """Clip k is all k, and has label k."""
    level = torch.arange(count).float().view(-1, 1, 1, 1, 1)
    return level.expand(count, 4, 3, 16, 16).clone(), level.expand(count, 1, 3, 16, 16).clone(), torch.eye(count)


def test_mixup_blends_clips_and_labels_alike():
    drawn = draw_mix(0.8, 0.0, 5, generator())
    video, special, target = join(drawn, *clips())
    levels = target @ torch.arange(5.0)
    torch.testing.assert_close(video, levels.view(-1, 1, 1, 1, 1).expand_as(video))
    torch.testing.assert_close(special, levels.view(-1, 1, 1, 1, 1).expand_as(special))
    assert ((target > 0).sum(1) == 2).any()
    torch.testing.assert_close(target.sum(1), torch.ones(5))


def test_cutmix_pastes_one_rectangle_and_counts_its_pixels():
    drawn = draw_mix(0.0, 1.0, 5, generator(1))
    video, special, target = join(drawn, *clips())
    for clip in range(5):
        assert set(video[clip].unique().tolist()) <= {float(clip), float(drawn.partner_B[clip])}
        for x in (video, special):
            for frame in x[clip]:
                torch.testing.assert_close((frame == clip).float().mean(), target[clip, clip])
    assert ((target > 0).sum(1) == 2).any()


def test_with_both_each_clip_takes_either():
    drawn = draw_mix(0.8, 1.0, 4000, generator())
    pasted, blended = drawn.pasted_B4[:, 2] > 0, drawn.share_B < 1
    assert not (pasted & blended).any()
    assert pasted.float().mean() == pytest.approx(0.5, abs=0.05)
    assert blended.float().mean() == pytest.approx(0.5, abs=0.05)


def test_a_missing_branch_is_mixed_as_nothing():
    drawn = Mix(partner_B=torch.arange(5).flip(0), share_B=torch.full((5,), 0.5), pasted_B4=torch.zeros(5, 4))
    video, special, _ = join(drawn, clips()[0], None, clips()[2])
    assert special is None and torch.equal(video, torch.full_like(video, 2.0))


SETTINGS = {"label_smoothing": {"label_smoothing": 0.1}, "class_weights": {"class_weights": True, "balanced": False}}


@pytest.mark.parametrize("name", SETTINGS)
def test_each_changes_the_training(arrays, name):
    few = dataclasses.replace(RECIPE, balanced=SETTINGS[name].get("balanced", True))
    uneven = dataclasses.replace(arrays, labels=("smile",) * 7 + ("brow-raise",) * 3 + ("frown",) * 2)
    ends = []
    for recipe in (few, dataclasses.replace(few, **SETTINGS[name])):
        run = trainer(uneven, recipe, CONFIG)
        run.run_epoch()
        ends.append(weights(run.model))
    assert not torch.equal(*ends)
