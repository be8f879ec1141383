import json

import pytest
from pages import check_page

from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.writer import BagWriter
from page4d_ros.evaluation.report.verdict import UNTRAINED
from page4d_ros.evaluation.run import evaluate_recording

SECTIONS = ('frames', 'map', 'accuracy', 'timing', 'topics', 'run')


def checked(path):
    text, parser = check_page(path)
    assert set(SECTIONS) <= set(parser.ids)
    return text, parser


def leaves(tree, path=''):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f'{path}.{key}' if path else key)
    else:
        yield path, tree


def assert_every_gap_has_a_reason(metrics):
    for path, value in leaves({k: v for k, v in metrics.items() if k != 'reasons'}):
        if value is None:
            assert metrics['reasons'].get(path), path
    assert all(metrics['reasons'].values())


@pytest.fixture(scope='module')
def untrained(drive, tmp_path_factory):
    _, source, _, untrained = drive
    output = tmp_path_factory.mktemp('untrained')
    return evaluate_recording(untrained, source, output), output


def test_the_truth_gets_good_marks(good):
    metrics, output = good
    assert json.loads((output / 'metrics.json').read_text()) == metrics
    assert metrics['verdict']['level'] == 'good'
    assert metrics['trajectory']['sim3']['ate_m'] < 1e-6
    assert metrics['trajectory']['poses'] == 10
    assert metrics['depth']['per_sequence']['abs_rel'] < 0.02
    assert 0 < metrics['depth']['coverage'] < 1
    assert metrics['mask']['estimate']['iou'] > metrics['mask']['all_moving']['iou']
    assert metrics['run']['images'] == metrics['run']['estimates'] == 10
    assert metrics['run']['rate_hz'] == pytest.approx(10)
    assert metrics['topics']['/odom']['count'] == 10
    assert metrics['command'] == 'page4d demo <x> & more'
    assert metrics['versions']['torch']
    assert_every_gap_has_a_reason(metrics)


def test_the_report_is_whole_and_needs_nothing_else(good):
    _, output = good
    text, parser = checked(output / 'report.html')
    assert len(parser.images) == (6 + 3 * 4) * 4  # and the worst of three errors
    labels = ('Clouds and paths seen from above', 'Clouds and paths seen from side')
    labels += ('Position over time', 'position error', 'depth error', 'mask error')
    labels += ('Time per stage',)
    for label in labels:
        assert f'aria-label="{label}' in text
    assert 'page4d demo &lt;x&gt; &amp; more' in text
    assert 'class="n best"' in text
    assert 'untrained' not in text.lower()


EVIL = '<script>alert(1)</script><img src=x onerror=alert(1)>"\'&{{ 7 * 7 }}'


def spoilt(source, target):
    """Copy of a recording whose every text is markup, and with a topic named so."""
    with open_bag(source) as bag, BagWriter(target) as writer:
        for message in bag.messages(bag.topics()):
            value = message.value
            if message.topic == '/page4d/status':
                for name in ('checkpoint', 'purpose', 'device', 'scale_state', 'relies_on'):
                    setattr(value, name, EVIL)
            writer.write(message.topic, message.log_ns, value)
            if message.topic == '/odom':
                writer.write(f'/{EVIL}', message.log_ns, value)
    return target


def test_nothing_of_a_recording_is_markup(drive, tmp_path):
    _, source, true, _ = drive
    folder = tmp_path / EVIL.replace('/', '_')
    metrics = evaluate_recording(spoilt(true, folder), source, tmp_path / 'report', command=EVIL)
    text, parser = checked(tmp_path / 'report' / 'report.html')
    assert EVIL in metrics['command']
    assert '&lt;script&gt;alert(1)' in text
    assert '<script>alert' not in text
    assert '<img src=x' not in text
    assert all('onerror' not in image for image in parser.images)
    assert f'/{EVIL}' in metrics['topics']


def test_untrained_weights_are_shouted_about(untrained):
    metrics, output = untrained
    assert metrics['run']['trained'] is False
    assert metrics['verdict']['level'] == 'fair'
    assert metrics['verdict']['banner'] == UNTRAINED
    text, _ = checked(output / 'report.html')
    assert UNTRAINED in text
    assert 'class="n best"' not in text
    assert_every_gap_has_a_reason(metrics)
