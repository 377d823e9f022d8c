"""The identity memory and the encoder of its keys."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nerfstudio_talking.refiner.memory import IdentityMemory, KeyEncoder


def units(*rows: tuple[float, ...]) -> torch.Tensor:
    return F.normalize(torch.tensor(rows), dim=1)


def test_retrieves_the_value_under_the_nearest_key():
    memory = IdentityMemory(8, 3, 2)
    keys, values = torch.eye(3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    memory.update(keys, values)
    assert len(memory) == 3
    near = units((0.1, 0.9, 0.2), (0.0, -0.1, 0.8))
    assert torch.equal(memory.retrieve(near), values[[1, 2]])


def test_an_empty_memory_gives_zeros_and_no_loss():
    memory = IdentityMemory(4, 3, 2)
    query = torch.eye(3, requires_grad=True)
    assert torch.equal(memory.retrieve(query), torch.zeros(3, 2))
    loss = memory.triplet_loss(query, torch.ones(3, 2))
    loss.backward()
    assert loss == 0
    assert torch.equal(query.grad, torch.zeros(3, 3))


def test_keys_of_one_identity_share_a_slot_half_way():
    memory = IdentityMemory(4, 2, 2)
    value = torch.tensor([[1.0, 0.0]])
    slots = [int(memory.update(units(key), value)) for key in ((1.0, 0.0), (0.0, 1.0))]
    assert slots[0] == slots[1]
    assert len(memory) == 1
    torch.testing.assert_close(memory.keys[slots[0]], units((1.0, 1.0))[0])
    # the same key with another identity gets a slot of its own
    memory.update(units((1.0, 1.0)), torch.tensor([[0.0, 1.0]]))
    assert len(memory) == 2


def test_a_full_memory_overwrites_the_oldest_slot():
    memory = IdentityMemory(3, 4, 4, age_noise=0.0)
    values = torch.eye(4)
    for i in range(3):
        memory.update(torch.eye(4)[i : i + 1], values[i : i + 1])
    memory.update(torch.eye(4)[:1], values[:1])  # the first is written again: the second is now the oldest
    memory.update(torch.eye(4)[3:], values[3:])
    assert len(memory) == 3
    assert {int(row.argmax()) for row in memory.values} == {0, 2, 3}
    assert sorted(memory.ages.tolist()) == [0, 1, 2]


def test_age_noise_only_blurs_the_order():
    memory = IdentityMemory(6, 12, 12, age_noise=4.0)
    memory.update(torch.eye(12), torch.eye(12))
    kept = {int(row.argmax()) for row in memory.values}
    assert 11 in kept  # the last one written is never the oldest within four steps
    again = IdentityMemory(6, 12, 12, age_noise=4.0)
    again.update(torch.eye(12), torch.eye(12))
    assert torch.equal(memory.values, again.values)


def test_triplet_loss_by_hand():
    memory = IdentityMemory(4, 2, 2, margin=0.3, threshold=0.9)
    memory.update(torch.eye(2), torch.eye(2))
    query = units((0.6, 0.8))  # 0.6 from its own identity, 0.8 from the other
    loss = memory.triplet_loss(query, torch.tensor([[1.0, 0.0]]))
    assert float(loss) == pytest.approx(0.8 - 0.6 + 0.3)
    assert float(memory.triplet_loss(query, torch.tensor([[0.0, 1.0]]))) == pytest.approx(0.6 - 0.8 + 0.3)
    # the query's identity is not stored: no positive, no loss
    assert float(memory.triplet_loss(query, torch.tensor([[-1.0, 0.0]]))) == 0


def test_triplet_loss_teaches_keys_to_find_their_identity():
    torch.manual_seed(0)
    memory, encoder = IdentityMemory(2, 4, 2), nn.Linear(4, 4)
    memory.update(torch.eye(4)[:2], torch.eye(2))
    frames, values = torch.randn(2, 4), torch.eye(2)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        memory.triplet_loss(F.normalize(encoder(frames), dim=1), values).backward()
        optimizer.step()
    assert torch.equal(memory.retrieve(encoder(frames)), values)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one slot"):
        IdentityMemory(0)
    with pytest.raises(ValueError, match="finite"):
        IdentityMemory(2, 2, 2).update(torch.full((1, 2), float("nan")), torch.ones(1, 2))


def test_a_state_dict_contains_the_memory():
    memory, other = IdentityMemory(4, 3, 2), IdentityMemory(4, 3, 2)
    memory.update(torch.eye(3), torch.randn(3, 2))
    other.load_state_dict(memory.state_dict())
    assert len(other) == 3
    assert torch.equal(other.retrieve(torch.eye(3)), memory.retrieve(torch.eye(3)))


@pytest.mark.parametrize("width", [8, 64])
def test_keys_are_unit_vectors_for_any_image_size(width):
    encoder = KeyEncoder(16, width)
    for size in ((32, 48), (200, 150)):
        torch.testing.assert_close(encoder(torch.rand(1, 3, *size)).norm(dim=1), torch.ones(1))
