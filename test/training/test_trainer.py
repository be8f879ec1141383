"""The loop: resuming repeats the bits, one clipped step for each batch, frozen means frozen."""

import json
import os
from collections import Counter
from dataclasses import replace

import pytest
import torch
import training_cases as cases
from test_schedule import RECIPES
from training_cases import Log, Trainer, random_batch

from page4d_ros.errors import TrainingError
from page4d_ros.model.checkpoint import load_network, save_network, untrained_network
from page4d_ros.model.config import FourDVGGTConfig
from page4d_ros.training import trainer as module
from page4d_ros.training.recipe import load_recipe
from page4d_ros.training.trainer import STATE, WEIGHTS, initial_network


def train(recipe, folder, stop_at=None):
    """Train until a step; a run of that folder goes on."""
    trainer = Trainer(recipe, folder)
    log = Log(folder, after=trainer.step)
    finished = trainer.run(log, stopped=lambda: trainer.step == stop_at)
    log.close()
    assert finished == (stop_at is None)
    return trainer


def everything(trainer):
    """All tensors of a run by name."""
    out = {f'network {k}': v for k, v in trainer.objective.state_dict().items()}
    out |= {
        f'average {k}': v for k, v in (trainer.average.state if trainer.average else {}).items()
    }
    for index, values in trainer.optimiser.state_dict()['state'].items():
        out |= {f'optimiser {index} {k}': v for k, v in values.items()}
    return {name: value.clone() for name, value in out.items()}


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize('workers', [0, 1])
def test_a_resumed_run_repeats_the_bits(recipe_of, tmp_path, workers):
    whole = train(recipe_of(), tmp_path / 'whole')
    train(recipe_of(data__workers=workers), tmp_path / 'two', stop_at=2)
    resumed = train(recipe_of(data__workers=workers), tmp_path / 'two')
    assert resumed.step == whole.step == 4
    assert any(name.startswith('optimiser') for name in everything(whole))
    assert not changed(everything(whole), everything(resumed))
    files = [torch.load(tmp_path / name / STATE, weights_only=True) for name in ('whole', 'two')]
    assert [state['step'] for state in files] == [4, 4]
    networks = [load_network(tmp_path / name / WEIGHTS).state_dict() for name in ('whole', 'two')]
    assert not changed(*networks)
    assert not changed(networks[0], dict(whole.average.state))


def test_a_state_remembers_what_differs_from_its_beginning(recipe_of, tmp_path):
    """The test above would pass if nothing were trained, or if only weights were saved."""
    begun = everything(Trainer(recipe_of(), tmp_path / 'new'))
    two = everything(train(recipe_of(), tmp_path / 'two', stop_at=2))
    names = {n for n in begun if n.startswith(('network', 'average'))}
    assert len(changed({n: begun[n] for n in names}, {n: two[n] for n in names})) > 0.9 * len(
        names
    )
    state = torch.load(tmp_path / 'two' / STATE, weights_only=True)
    state['optimiser']['state'] = {}
    torch.save(state, tmp_path / 'two' / STATE)
    forgetful, whole = (train(recipe_of(), tmp_path / name) for name in ('two', 'whole'))
    found, wanted = (t.objective.state_dict() for t in (forgetful, whole))
    assert changed(found, wanted)


def test_the_mask_fades_by_the_saved_step(recipe_of, tmp_path):
    alphas = []

    def train_and_note(stop_at=None):
        trainer = Trainer(recipe_of(), tmp_path)
        trainer.objective.register_forward_pre_hook(lambda _, args: alphas.append(args[1]))
        trainer.run(Log(tmp_path), stopped=lambda: trainer.step == stop_at)

    train_and_note(stop_at=2)
    train_and_note()
    assert alphas == [1.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize(('end', 'enabled'), [(3, False), (4, False), (100, True)])
def test_weights_say_whether_they_were_masked_in_the_end(recipe_of, tmp_path, end, enabled):
    recipe = recipe_of(steps=4, mask__hold_start=end - 1, mask__hold_end=end)
    trainer = Trainer(recipe, tmp_path)
    trainer.save()
    assert load_network(tmp_path / WEIGHTS).config.mask_enabled is enabled


def stepped(recipe, folder, batch):
    """Losses of one step, and the gradients that the optimiser saw, for each of its steps."""
    trainer, seen = Trainer(recipe, folder), []

    def note(optimiser, *_):
        seen.append(
            {
                n: p.grad.clone()
                for n, p in trainer.objective.named_parameters()
                if p.grad is not None
            }
        )

    trainer.optimiser.register_step_pre_hook(note)
    return trainer, trainer.train_step(batch), seen


@pytest.mark.parametrize('accumulate', [1, 2, 3])
def test_one_clipped_step_for_each_batch(recipe_of, tmp_path, accumulate):
    recipe = recipe_of(accumulate=accumulate, clip=0.01, clip_parts=False)
    trainer, losses, seen = stepped(recipe, tmp_path, random_batch(3, 2))
    assert trainer.step == len(seen) == 1
    assert losses['gradient'] > 0.01
    norm = torch.stack([g.norm() for g in seen[0].values()]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)
    assert all(p.grad is None for p in trainer.objective.parameters())


def test_parts_of_the_network_are_clipped_by_themselves(recipe_of, tmp_path):
    recipe = recipe_of(clip=0.001, clip_parts=True)
    _, _, (seen,) = stepped(recipe, tmp_path, random_batch(2, 2))
    squares = Counter()
    for name, gradient in seen.items():
        squares['.'.join(name.split('.')[:2])] += float(gradient.square().sum())
    assert set(squares) >= {'network.aggregator', 'network.camera_head', 'network.depth_head'}
    assert all(value**0.5 <= 0.001 * 1.001 for value in squares.values())


def test_accumulation_is_the_whole_batch_where_parts_know_as_much(recipe_of, tmp_path):
    # 800 known pixels: above 1000 the outlier filter works on each part by itself
    batch = random_batch(2, 2, size=(28, 28), known=0.25)
    assert 100 < int((batch.depth > 0).sum()) <= 1000
    found = []
    for parts in (1, 2):
        recipe = recipe_of(accumulate=parts, clip=100.0, loss__points=0.0, loss__coordinates=0.0)
        _, losses, (gradients,) = stepped(recipe, tmp_path / str(parts), batch)
        found.append((losses, gradients))
    (losses, one), (other_losses, two) = found
    assert losses == pytest.approx(other_losses, rel=1e-4)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-6)


def test_accumulation_weighs_windows_not_pixels(recipe_of, tmp_path):
    """The documented difference: a part's mean over its pixels counts by its windows."""
    batch = random_batch(2, 2, size=(28, 28), known=0.25)
    batch.depth[1, :, 4:] = 0.0
    found = []
    for parts in (1, 2):
        recipe = recipe_of(accumulate=parts, loss__coordinates=0.0)
        found.append(stepped(recipe, tmp_path / str(parts), batch)[1]['depth'])
    assert found[0] != pytest.approx(found[1], rel=1e-3)


def test_frozen_parameters_do_not_move_by_a_bit(recipe_of, tmp_path):
    groups = [{'parameters': ['network.camera_head.*'], 'lr': 1e-3, 'hold': 0.5}]
    recipe = recipe_of(groups=groups)
    before = everything(Trainer(recipe, tmp_path / 'before'))
    after = everything(train(recipe, tmp_path / 'after'))
    names = {n for n in before if n.startswith('network')}
    moved = changed({n: before[n] for n in names}, {n: after[n] for n in names})
    assert moved
    assert all(name.startswith('network network.camera_head.') for name in moved)


def test_a_broken_gradient_is_skipped_and_many_end_the_run(recipe_of, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MAX_SKIPPED', 2)
    trainer = Trainer(recipe_of(), tmp_path)
    before = everything(trainer)
    good = random_batch(2, 2)
    broken = good._replace(images=good.images * torch.nan)
    assert trainer.train_step(broken)['skipped'] == 1.0
    assert not changed(before, everything(trainer))
    assert 'skipped' not in trainer.train_step(good)
    trainer.train_step(broken)
    with pytest.raises(TrainingError, match='not finite for 2 steps in a row'):
        trainer.train_step(broken)


def test_nothing_to_learn_is_refused(recipe_of, tmp_path):
    parts = dict.fromkeys(('camera', 'depth', 'relative', 'motion', 'coordinates'), 0.0)
    trainer = Trainer(recipe_of(loss=parts | {'points': 1.0}), tmp_path)  # without a point head
    with pytest.raises(TrainingError, match='nothing to train'):
        trainer.train_step(random_batch())


@pytest.mark.parametrize(
    ('values', 'named'),
    [
        ({'loss__camera': 4.0}, 'loss.camera'),
        ({'seed': 5, 'data__turn_deg': 1.0}, 'seed, data.turn_deg'),
        ({'groups': [{'lr': 1e-5}]}, 'groups'),
        ({'data__window_sizes': {2: 1.0}}, 'data.window_sizes'),
        ({'weights': 'points'}, 'weights'),
        ({'ema': 0.0}, 'ema'),
    ],
)
def test_a_state_of_another_recipe_is_refused(recipe_of, tmp_path, values, named):
    Trainer(recipe_of(), tmp_path).save()
    with pytest.raises(TrainingError, match=f'another {named}; set that back') as caught:
        Trainer(recipe_of(**values), tmp_path)
    assert str(caught.value).startswith(str(tmp_path / STATE))


def test_more_steps_and_other_folders_go_on(recipe_of, tmp_path, watched):
    train(recipe_of(), tmp_path)
    more = recipe_of(
        steps=5,
        save_every=7,
        evaluate_every=1,
        data__validation=watched,
        data__workers=1,
        data__train=watched,
    )
    assert train(more, tmp_path).step == 5
    assert train(recipe_of(steps=3), tmp_path).step == 5  # fewer change nothing


def test_a_state_from_before_a_setting_existed_takes_its_default(recipe_of, tmp_path):
    Trainer(recipe_of(), tmp_path).save()
    state = torch.load(tmp_path / STATE, weights_only=True)
    del state['recipe']['loss']['dense_stride'], state['recipe']['data']['augmentation']
    torch.save(state, tmp_path / STATE)
    Trainer(recipe_of(), tmp_path)
    with pytest.raises(TrainingError, match=r'another loss\.dense_stride'):
        Trainer(recipe_of(loss__dense_stride=2), tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def other_network(path):
    state = torch.load(path, weights_only=True)
    state['objective'].pop('network.camera_head.embed_pose.weight')
    torch.save(state, path)


def from_the_past(path):
    state = torch.load(path, weights_only=True)
    loss = state['recipe']['loss']
    loss['gauge'] = loss.pop('targets')
    torch.save(state, path)


def from_the_future(path):
    state = torch.load(path, weights_only=True)
    state['recipe']['sunshine'] = 1
    torch.save(state, path)


@pytest.mark.parametrize(
    ('damage', 'text'),
    [
        (cut, 'is damaged, or not the state of a run; remove it'),
        (lambda path: path.write_bytes(b''), 'is damaged'),
        (lambda path: path.write_text('hello'), 'is damaged'),
        (lambda path: torch.save({'model': {}}, path), 'is not the state of a run'),
        (lambda path: torch.save(os.path.join, path), 'is damaged'),  # never run
        (other_network, 'does not fit the network'),
        (from_the_past, r'saved by another version .*loss\.gauge is now called loss\.targets'),
        (from_the_future, "saved by another version .*unknown setting 'sunshine'"),
    ],
)
def test_a_damaged_state_is_one_clear_error(recipe_of, tmp_path, damage, text):
    Trainer(recipe_of(), tmp_path).save()
    damage(tmp_path / STATE)
    with pytest.raises(TrainingError, match=text) as caught:
        Trainer(recipe_of(), tmp_path)
    assert str(tmp_path / STATE) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_state_that_cannot_be_written_leaves_the_older_one(recipe_of, tmp_path, monkeypatch):
    trainer = Trainer(recipe_of(), tmp_path)
    trainer.save()
    before = (tmp_path / STATE).read_bytes()

    def full(*_):
        raise RuntimeError('PytorchStreamWriter failed writing file')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(TrainingError, match='cannot be written'):
        trainer.save()
    assert (tmp_path / STATE).read_bytes() == before
    with pytest.raises(TrainingError, match='cannot be made'):
        Trainer(recipe_of(), tmp_path / STATE / 'run')


def test_a_window_can_be_learnt_by_heart(files, recipe_of, tmp_path):
    """The loss on the only batch there is falls well below where it began."""
    plain = dict.fromkeys(
        ('exposure', 'flutter', 'colour', 'gamma', 'noise', 'blur', 'blur_share'), 0.0
    )
    still = {'turn_deg': 0.0, 'shake_deg': 0.0, 'zoom': 0.0, 'augmentation': plain}
    data = {'train': str(files / 'train'), 'validation': '', 'width': 56, 'height': 42}
    data |= still | {'window_sizes': {2: 1}, 'frames_per_batch': 2, 'workers': 0}
    group = {'lr': 3e-3, 'lr_ends': 1e-3, 'warmup': 0.1, 'hold': 0.5}
    recipe = recipe_of(
        steps=30, data=data, groups=[group], ema=0.0, mask={'hold_start': 0, 'hold_end': 0}
    )
    trainer = Trainer(recipe, tmp_path)
    batch = module.WindowDataset(module.find_shards(data['train']), recipe.data, 14, 0, 1)[0]
    losses = [trainer.train_step(batch) for _ in range(30)]
    left = {name: losses[-1][name] / losses[0][name] for name in losses[0]}
    assert left['total'] < 0.6
    assert left['depth'] < 0.4
    assert left['relative'] < 0.3
    assert left['coordinates'] < 0.3


def test_evaluation_uses_and_keeps_the_average(recipe_of, tmp_path, watched):
    recipe = recipe_of(data__validation=watched, ema=0.5)
    trainer = train(recipe, tmp_path)
    own = everything(trainer)
    first, second = (trainer.evaluate(module.Validation(recipe.data, 14)) for _ in range(2))
    assert first == second
    assert not changed(own, everything(trainer))
    trainer.average.state['camera_head.pose_branch.fc2.bias'] += 1
    assert trainer.evaluate(module.Validation(recipe.data, 14)) != first
    assert trainer.network.training


def test_an_untrained_start_is_the_same_for_a_seed():
    tiny = load_recipe(RECIPES / 'tiny.yaml')
    one, same = (initial_network(tiny).state_dict() for _ in range(2))
    other = initial_network(replace(tiny, seed=1)).state_dict()
    assert not changed(one, same)
    assert changed(one, other)
    tokens = one['aggregator.camera_token']
    assert float((tokens[:, 0] - tokens[:, 1]).abs().mean()) > 0.1  # told apart from the start


def test_published_weights_move_only_where_the_recipe_says(files, tmp_path, watched):
    """The finetune preset on a stand-in: 24 narrow blocks, windows of the plane."""
    weights = cases.save_micro(tmp_path / 'standin.safetensors', cases.STANDIN)
    values = {
        'weights': str(weights),
        'steps': 2,
        'data.train': str(files / 'train'),
        'data.validation': watched,
        'data.width': 56,
        'data.height': 42,
        'data.frames_per_batch': 4,
        'data.window_sizes': {2: 1.0},
        'data.workers': 0,
    }
    recipe = load_recipe(RECIPES / 'finetune.yaml', values)
    assert (recipe.accumulate, recipe.precision) == (2, 'bf16')
    trainer = train(recipe, tmp_path / 'run')
    before = load_network(weights).state_dict()
    after = load_network(tmp_path / 'run' / WEIGHTS)
    blocks = [
        f'aggregator.{kind}_blocks.{i}.' for kind in ('frame', 'global') for i in range(10, 20)
    ]
    wanted = (*blocks, 'aggregator.spatial_mask_head.')
    moved = changed(before, after.state_dict())
    assert {name for name in moved if not name.startswith(wanted)} == set()
    assert len(moved) > 0.9 * sum(name.startswith(wanted) for name in before)
    assert after.config == replace(
        cases.STANDIN, mask_enabled=True
    )  # 2 steps: the mask still held
    assert after.name == 'page4d-finetuned'
    assert trainer.step == 2
    lines = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').open()]
    assert [line['kind'] for line in lines] == ['validation', 'validation', 'loss']
    assert {'camera', 'depth', 'points', 'total', 'gradient'} <= lines[-1].keys()
    assert recipe.to_mapping()['weights'] == str(weights)


def test_page4d_small_is_a_beginning(recipe_of):
    small = initial_network(replace(recipe_of(), weights='page4d-small'))
    assert small.training
    assert small.name == 'page4d-small'


def test_only_page4d_is_trained(recipe_of, tmp_path):
    path = tmp_path / '4d.safetensors'
    save_network(untrained_network(FourDVGGTConfig.tiny()), path, name='4d')
    with pytest.raises(TrainingError, match='only PAGE-4D is trained here'):
        initial_network(replace(recipe_of(), weights=str(path)))
