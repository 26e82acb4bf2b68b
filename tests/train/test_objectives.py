"""The two training objectives: their equations, and the published weights of the structure loss."""

from __future__ import annotations

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from gendeg_core.generate.published_sizes import scheduler_config
from train.common.errors import UsageError
from train.common.objectives import Epsilon, Flow, Objective, objective_of, published_alpha_bar


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_noise_is_added_as_ddpm_does() -> None:
    scheduler = DDPMScheduler(**scheduler_config())
    objective = Epsilon(published_alpha_bar())
    torch.testing.assert_close(objective.alpha_bar, scheduler.alphas_cumprod, rtol=1e-4, atol=1e-6)
    signal, noise, time = draw(5, 4, 6, 6), draw(5, 4, 6, 7)[..., :6], torch.tensor([0, 100, 500, 740, 999])
    noisy = objective.noisy(signal, noise, time)
    torch.testing.assert_close(
        noisy, scheduler.add_noise(signal, noise, time), rtol=1e-4, atol=1e-5  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


@pytest.mark.parametrize("objective", [Epsilon(published_alpha_bar()), Flow()])
def test_a_perfect_prediction_gives_the_signal_back(objective: Objective) -> None:
    signal, noise = draw(3, 4, 6, 6), draw(3, 4, 6, 8)[..., :6]
    time = objective.draw_times(3, torch.Generator().manual_seed(0))
    target = noise if isinstance(objective, Epsilon) else noise - signal
    noisy = objective.noisy(signal, noise, time)
    torch.testing.assert_close(objective.signal(noisy, target, time), signal, rtol=1e-3, atol=1e-3)
    assert objective.error(target, signal, noise, time).abs().max() == 0
    assert 0 <= objective.unet_time(time).min() <= objective.unet_time(time).max() < 1000


def test_lambda_is_the_published_weight() -> None:
    weight = Epsilon(published_alpha_bar()).structure_weight(torch.arange(1000))
    published = {0: 0.029, 100: 0.31, 250: 0.47, 354: 0.501, 500: 0.45, 999: 0.069}
    assert {t: weight[t].item() for t in published} == pytest.approx(published, abs=6e-3)
    assert weight[0].item() == pytest.approx(0.0292, abs=1e-4)
    assert weight.argmax() == 354
    assert weight.max().item() == pytest.approx(0.501, abs=5e-4)
    assert weight.mean().item() == pytest.approx(0.323, abs=1e-3)


def test_the_weight_of_the_flow_vanishes_at_both_ends() -> None:
    weight = Flow().structure_weight(torch.tensor([0.0, 0.25, 0.5, 1.0]))
    assert weight.tolist() == [0, 0.1875, 0.25, 0]


def test_noise_levels_are_logit_normal_with_a_uniform_share() -> None:
    draws = [Flow(uniform=u).draw_times(20_000, torch.Generator().manual_seed(0)) for u in (0, 0.3, 1)]
    first_step = [(t > 0.95).double().mean().item() for t in draws]
    assert first_step[2] == pytest.approx(0.05, abs=0.005)
    assert first_step[0] < 0.005 < first_step[1]
    assert draws[0].median().item() == pytest.approx(torch.tensor(0.2).sigmoid().item(), abs=0.01)


def test_the_objective_follows_from_the_scheduler() -> None:
    assert isinstance(objective_of(DDPMScheduler(**scheduler_config())), Epsilon)
    with pytest.raises(UsageError, match="v_prediction"):
        objective_of(DDPMScheduler(prediction_type="v_prediction"))
