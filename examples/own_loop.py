"""A curriculum, the training attack and the detectors in a plain PyTorch loop of your own.

Run it: python examples/own_loop.py   (the embedded digits, about a minute)
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import hardball as hb


def under_attack(
    model: nn.Module, images: Tensor, labels: Tensor, eps: float, attack: hb.PGD
) -> Tensor:
    """Logits of adversarial examples."""
    model.eval()
    moved = attack.perturb(model, images, labels, hb.LInf(eps)) if eps else images
    with torch.no_grad():
        logits: Tensor = model(moved)
    return logits


def train(eps_max: float, epochs: int, seed: int = 0) -> tuple[nn.Module, hb.Course]:
    """Train on the digits as far as `eps_max`, within so many epochs."""
    torch.manual_seed(seed)
    data = hb.load_dataset("digits-bw")
    images, labels = data.images[:-200], data.labels[:-200]
    held, held_labels = data.images[-200:], data.labels[-200:]
    loader = DataLoader(TensorDataset(images, labels), batch_size=32, shuffle=True)

    model = hb.build("digits_cnn", data.shape, data.classes, {"width": 16})
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    attack = hb.PGD(steps=10)
    course = hb.Course(
        curriculum=hb.Adaptive(eps_max, epochs=epochs, finish=5), labels=labels, classes=10
    )
    good = copy.deepcopy((model.state_dict(), optimizer.state_dict()))

    while course.running:
        for step, (batch, truth) in enumerate(loader):
            eps = course.eps((step + 1) / len(loader))
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * course.lr_factor(step / len(loader))
            moved = batch
            if eps:
                model.eval()  # the attack sees the network as it will be used
                stronger = course.attack(attack)
                moved = stronger.perturb(model, batch, truth, hb.LInf(eps))
            model.train()
            loss = F.cross_entropy(model(moved), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        eps, training = course.eps(), course.attack(attack)
        decision = course.see(
            under_attack(model, held, held_labels, eps, training),
            held_labels,
            # asked for before ε rises: is the network as robust as the training attack says?
            probe=lambda eps=eps: under_attack(
                model, held, held_labels, eps, hb.PGD(steps=50, loss="margin")
            ),
        )
        print(f"epoch {course.epoch}: {decision.action}, {decision.reason}")
        if decision.learned:
            good = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        if decision.restore:
            model.load_state_dict(good[0])
            optimizer.load_state_dict(copy.deepcopy(good[1]))

    model.load_state_dict(good[0])
    return model.eval(), course


if __name__ == "__main__":
    model, course = train(eps_max=0.45, epochs=60)
    assert course.steered is not None
    learned = course.steered.learned
    print(f"learned ε={learned:g}")
    test = hb.load_dataset("digits-bw", split="test")
    scores = hb.evaluate(model, test, eps=[learned], attacks=hb.protocols.strong)
    for eps, left in scores.worst.items():
        print(f"test accuracy at ε={eps:g}: {left.value:.1%} (n={left.n})")
