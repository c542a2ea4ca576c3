"""What every attack promises about what it returns."""

import torch

from hardball.losses import correct, margin


def logits_of(model, images):
    """Without a graph."""
    with torch.no_grad():
        return model(images)


def check(found, model, images, labels, threat):
    """Allowed examples, judged as the model does; images that were wrong already stay as they are."""
    assert threat.allows(found.examples, images).all()
    logits = logits_of(model, found.examples)
    assert torch.equal(found.fooled, ~correct(logits, labels))
    torch.testing.assert_close(found.loss, margin(logits, labels).float(), rtol=1e-4, atol=1e-4)
    clean = ~correct(logits_of(model, images), labels)
    assert (found.fooled >= clean).all()
    assert torch.equal(found.examples[clean], images[clean])
