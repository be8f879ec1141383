"""The Python example of the README runs as printed."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_python_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    (tmp_path / 'page4d_ros').symlink_to(ROOT / 'page4d_ros')  # it names the sample recording
    monkeypatch.chdir(tmp_path)
    names = {}

    exec(compile(example, 'README.md', 'exec'), names)

    assert capsys.readouterr().out.startswith('60 poses')
    assert len(names['positions']) == names['summary'].estimates == 60
    assert 0 < max(names['moving']) < 0.5
    assert len((tmp_path / 'out' / 'trajectory.tum').read_text().splitlines()) == 60
